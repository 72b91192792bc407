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

// schema is the version of the layout of keys and files.
const schema = 1

// schemaFile holds the schema beside the store, so that it can be read before the store is opened: opening alone
// already writes.
const schemaFile = "POSTRIDER-SPOOL"

// checkSchema refuses a spool written by a newer program, and marks a new one.
func checkSchema(fs vfs.FS, dir string) error {
	path := fs.PathJoin(dir, schemaFile)
	text, err := readAll(fs, path)
	if errors.Is(err, os.ErrNotExist) {
		return markSchema(fs, dir, path)
	}
	if err != nil {
		return fmt.Errorf("read the spool's version: %w", err)
	}
	version, err := strconv.Atoi(strings.TrimSpace(text))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %q is not a version of the spool; nothing was touched", path, text)
	case version > schema:
		return fmt.Errorf("the spool in %s has version %d, this program knows versions up to %d: it was written by a newer "+
			"program; run that one again. Nothing was touched", dir, version, schema)
	}
	return nil
}

// markSchema writes the file under another name first, so that a crash never leaves half of it.
func markSchema(fs vfs.FS, dir, path string) error {
	err := fs.MkdirAll(dir, 0o700)
	if err == nil {
		err = writeSynced(fs, path+".new", strconv.Itoa(schema)+"\n")
	}
	if err == nil {
		err = fs.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(fs, dir)
	}
	if err != nil {
		return fmt.Errorf("make the spool in %s: %w", dir, err)
	}
	return nil
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
