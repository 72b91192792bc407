package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/postrider/postrider/controllers/dkimkey"
	"github.com/postrider/postrider/controllers/render"
	"github.com/postrider/postrider/relay/config"
)

// writeFile replaces a file as a whole: a reader sees the old contents or the new ones.
func writeFile(path string, data []byte) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// writeConfig writes a configuration unless it stands there already, and returns its generation. The index comes
// last, so that the relay never takes up half of it. Files that no longer belong to it go.
func writeConfig(dir string, files *render.Files) (generation int64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	old, err := readIndex(dir)
	if err != nil {
		return 0, err
	}
	all := files.All()
	for name, data := range all {
		if err := writeFile(filepath.Join(dir, name), data); err != nil {
			return 0, err
		}
	}
	next := files.Next(old)
	data, err := render.EncodeIndex(next)
	if err != nil {
		return 0, err
	}
	if err := writeFile(filepath.Join(dir, config.IndexFile), data); err != nil {
		return 0, err
	}
	return next.Generation, removeOthers(dir, all)
}

func readIndex(dir string) (config.Index, error) {
	data, err := os.ReadFile(filepath.Join(dir, config.IndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return config.Index{}, nil
	}
	if err != nil {
		return config.Index{}, err
	}
	return render.DecodeIndex(data)
}

func removeOthers(dir string, keep map[string][]byte) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, kept := keep[e.Name()]; !kept && e.Name() != config.IndexFile && e.Type().IsRegular() {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// readKeys reads the DKIM keys of a SendingDomain: the files of a directory, named as the keys of a Secret are.
func readKeys(dir string) ([]dkimkey.Set, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	data := map[string][]byte{}
	for _, e := range entries {
		contents, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		data[e.Name()] = contents
	}
	sets, err := dkimkey.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return sets, nil
}

// writeKeys keeps a set of keys.
func writeKeys(dir string, set dkimkey.Set) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, data := range set.Encode() {
		if err := writeFile(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	return nil
}
