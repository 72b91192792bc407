package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// schema is the version of the layout of keys and files. Since firstMarked a mark stands beside the store; since 3 what
// is queued for each destination is counted in it, mail has a priority, and the due index a part for each class; since
// firstSegmented large bodies stand in segments.
const (
	schema         = firstSegmented
	firstMarked    = 2
	firstSegmented = 4
)

// schemaFile holds the schema beside the store, so that it can be read before the store is opened: opening alone
// already writes.
const schemaFile = "POSTRIDER-SPOOL"

// readSchema is the version of the spool in dir, 0 when there is none. It refuses what a newer program wrote.
func readSchema(fs vfs.FS, dir string) (int, error) {
	path := fs.PathJoin(dir, schemaFile)
	text, err := readAll(fs, path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the spool's version: %w", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(text))
	switch {
	case err != nil || version < 1:
		return 0, refusal(fs, dir, fmt.Errorf("%s: %q is not a version of the spool", path, text))
	case version > schema:
		return 0, fmt.Errorf("the spool in %s has version %d, this program knows versions up to %d: it was written by a newer "+
			"program; run that one again. Nothing was touched", dir, version, schema)
	}
	return version, nil
}

// markSchema writes the version of this program.
func markSchema(fs vfs.FS, dir string) error {
	if err := replaceFile(fs, dir, schemaFile, strconv.Itoa(schema)+"\n"); err != nil {
		return fmt.Errorf("make the spool in %s: %w", dir, err)
	}
	return nil
}

// replaceFile writes a file under another name first, so that a crash never leaves half of it.
func replaceFile(fs vfs.FS, dir, name, text string) error {
	path := fs.PathJoin(dir, name)
	err := writeSynced(fs, path+".new", text)
	if err == nil {
		err = fs.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(fs, dir)
	}
	return err
}

func readAll(fs vfs.FS, path string) (string, error) {
	f, err := fs.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

func writeSynced(fs vfs.FS, path, text string) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(text))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
