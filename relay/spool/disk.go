package spool

import (
	"errors"
	"hash/crc32"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk decides what the failure of a write means, and tells the mark what was synced. A full disk is survived by
// tables and what belongs to them: pebble flushes and compacts again when it failed, at once, so it is made to wait a
// little. It is survived by a segment that is written to, too: that message fails. Everything else ends the process,
// before pebble goes on with locks held or stands still: also a segment that cannot be synced, whose octets may be on
// disk or not, whatever a second try says.
type disk struct {
	vfs.FS
	l    *logger
	mark *mark
	// pause is the wait before a full disk is tried again.
	pause time.Duration
}

// Unwrap implements vfs.FS.
func (d disk) Unwrap() vfs.FS { return d.FS }

// Create implements vfs.FS.
func (d disk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return d.guard(f, name, err)
}

// ReuseForWrite implements vfs.FS.
func (d disk) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	d.mark.gone(parseFile(d.PathBase(from)))
	f, err := d.FS.ReuseForWrite(from, to, category)
	return d.guard(f, to, err)
}

// Remove implements vfs.FS.
func (d disk) Remove(name string) error {
	kind, number := parseFile(d.PathBase(name))
	if d.mark.gone(kind, number) {
		// The mark on disk would miss it: where the process ends before the next log is synced, none is there.
		if err := d.mark.write(); err != nil {
			return err
		}
	}
	return d.FS.Remove(name)
}

// OpenDir implements vfs.FS.
func (d disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guarded{File: f, name: name, vital: true, disk: d}, nil
}

func (d disk) guard(f vfs.File, name string, err error) (vfs.File, error) {
	kind, number := parseFile(d.PathBase(name))
	g := &guarded{File: f, name: name, vital: kind == logFile, disk: d, kind: kind, sofar: prefix{number: number}}
	if err := g.check("create", err); err != nil {
		return nil, err
	}
	return g, nil
}

// maxFailures is how often a disk may fail while a store is opened: pebble tries some things again without end.
const maxFailures = 50

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// guarded is a file being written, or a directory.
type guarded struct {
	vfs.File
	name string
	// vital: the write-ahead log, or a directory. It cannot be tried again.
	vital bool
	disk  disk
	kind  fileKind
	// sofar is what was written of a log or MANIFEST. Pebble writes and syncs each in one goroutine at a time.
	sofar prefix
	// named says that the name of a MANIFEST is on stable storage, too.
	named bool
}

// check passes an error on that pebble may try to overcome.
func (g *guarded) check(what string, err error) error {
	switch {
	case err == nil:
	case diskFull(err) && !g.vital && g.disk.l.serving.Load() && (what != "sync" || g.kind != segmentFile):
		time.Sleep(g.disk.pause)
	case !g.disk.l.serving.Load() && g.disk.l.failures.Add(1) < maxFailures: // Open says so, or tries again
		time.Sleep(g.disk.pause)
	default:
		g.disk.l.Fatalf("%s %s: %w", what, g.name, err)
	}
	return err
}

// Write implements io.Writer.
func (g *guarded) Write(p []byte) (int, error) {
	if g.marked() {
		g.sofar.sum = crc32.Update(g.sofar.sum, castagnoli(), p)
		g.sofar.size += int64(len(p))
	}
	n, err := g.File.Write(p)
	return n, g.check("write", err)
}

// WriteAt implements io.WriterAt.
func (g *guarded) WriteAt(p []byte, offset int64) (int, error) {
	n, err := g.File.WriteAt(p, offset)
	return n, g.check("write", err)
}

// Sync implements vfs.File.
func (g *guarded) Sync() error { return g.note(true, g.check("sync", g.File.Sync())) }

// SyncData implements vfs.File.
func (g *guarded) SyncData() error { return g.note(true, g.check("sync", g.File.SyncData())) }

// SyncTo implements vfs.File.
func (g *guarded) SyncTo(length int64) (fullSync bool, err error) {
	fullSync, err = g.File.SyncTo(length)
	return fullSync, g.note(fullSync, g.check("sync", err))
}

// marked says that the mark tells of the file.
func (g *guarded) marked() bool { return g.kind == logFile || g.kind == manifestFile }

// note tells the mark of a sync that succeeded.
func (g *guarded) note(synced bool, err error) error {
	if err != nil || !synced || !g.marked() {
		return err
	}
	if g.kind == manifestFile && !g.named {
		if err := g.check("sync", syncDir(g.disk.FS, g.disk.PathDir(g.name))); err != nil {
			return err
		}
		g.named = true
	}
	return g.check("mark", g.disk.mark.synced(g.kind, g.sofar))
}

// Close implements io.Closer.
func (g *guarded) Close() error { return g.check("close", g.File.Close()) }
