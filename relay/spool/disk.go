package spool

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk ends the process at the first error of a write-ahead log or of a directory. Pebble gives up as well, but not before it has
// panicked with locks held, or gone on for a while.
type disk struct {
	vfs.FS
	l *logger
}

// Unwrap implements vfs.FS.
func (d disk) Unwrap() vfs.FS { return d.FS }

// Create implements vfs.FS.
func (d disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return d.guard(f, name, err)
}

// OpenDir implements vfs.FS.
func (d disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return guarded{File: f, name: name, l: d.l}, nil
}

// ReuseForWrite implements vfs.FS.
func (d disk) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(from, to, category)
	return d.guard(f, to, err)
}

func (d disk) guard(f vfs.File, name string, err error) (vfs.File, error) {
	if !strings.HasSuffix(name, ".log") {
		return f, err
	}
	w := guarded{File: f, name: name, l: d.l}
	return w, w.check("create", err)
}

// guarded is a write-ahead log's file, or a directory.
type guarded struct {
	vfs.File
	name string
	l    *logger
}

func (w guarded) check(what string, err error) error {
	if err != nil {
		w.l.Fatalf("%s %s: %w", what, w.name, err)
	}
	return err
}

// Write implements io.Writer.
func (w guarded) Write(p []byte) (int, error) {
	n, err := w.File.Write(p)
	return n, w.check("write", err)
}

// Sync implements vfs.File.
func (w guarded) Sync() error { return w.check("sync", w.File.Sync()) }

// SyncData implements vfs.File.
func (w guarded) SyncData() error { return w.check("sync", w.File.SyncData()) }

// SyncTo implements vfs.File.
func (w guarded) SyncTo(length int64) (fullSync bool, err error) {
	fullSync, err = w.File.SyncTo(length)
	return fullSync, w.check("sync", err)
}

// Close implements io.Closer.
func (w guarded) Close() error { return w.check("close", w.File.Close()) }
