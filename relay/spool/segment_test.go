package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/postrider/postrider/relay/envelope"
)

// large stores messages that go to segments, of size octets each, and returns their entries, each for one recipient.
func large(t *testing.T, s *Store, size, n int) []envelope.Envelope {
	t.Helper()
	var all []envelope.Envelope
	for range n {
		created, err := accept(s, size, to("u@large.test"))
		must(t, err)
		all = append(all, created...)
	}
	return all
}

func deliver(t *testing.T, s *Store, entries ...envelope.Envelope) {
	t.Helper()
	for i := range entries {
		e := &entries[i]
		must(t, end(s, e.Key(), map[string]envelope.Disposition{e.Recipients[0].Address: envelope.Delivered}))
	}
}

// wait moves the clock of the segments on.
func wait(s *Store, d time.Duration) {
	now := s.segments.now
	s.now = func() time.Time { return now().Add(d) }
	s.segments.now = s.now
}

// bodyOf is where the message's body stands.
func bodyOf(t *testing.T, s *Store, id envelope.ID) bodyPlace {
	t.Helper()
	m, err := readMeta(s.db, id)
	must(t, err)
	return m.body
}

// segmentFiles are the segments there are.
func segmentFiles(t *testing.T, s *Store) []string {
	t.Helper()
	names, err := s.fs.List(s.dir)
	must(t, err)
	names = slices.DeleteFunc(names, func(name string) bool { kind, _ := parseFile(name); return kind != segmentFile })
	slices.Sort(names)
	return names
}

// tidied runs Tidy by way of run when all has been calm: a message that stays is in another segment then, with the octets
// it had; where none stays there is no segment left.
func tidied(t *testing.T, s *Store, stays envelope.ID, run func(tidy func() error)) {
	t.Helper()
	wait(s, calm)
	if stays == "" {
		run(func() error { return s.Tidy(t.Context()) })
		if files := segmentFiles(t, s); len(files) > 0 {
			t.Errorf("%v stay", files)
		}
		return
	}
	before, was := bodyOf(t, s, stays), content(s, stays)
	run(func() error { return s.Tidy(t.Context()) })
	if after := bodyOf(t, s, stays); after.segment == before.segment {
		t.Errorf("still at %+v", after)
	}
	if is := content(s, stays); is != was {
		t.Errorf("%s became %s", was, is)
	}
	if files := segmentFiles(t, s); slices.Contains(files, segmentName(before.segment)) || len(files) != 1 {
		t.Errorf("segments %v, the old one was %d", files, before.segment)
	}
}

func TestSegmentsComeAndGo(t *testing.T) {
	s := fresh(t)
	all := large(t, s, 300<<10, 12) // seven fill a segment
	if files := segmentFiles(t, s); len(files) != 2 {
		t.Fatalf("segments %v", files)
	}
	first, second := all[:7], all[7:]
	deliver(t, s, first...)
	must(t, s.Tidy(t.Context()))
	if files := segmentFiles(t, s); !slices.Equal(files, []string{"000002.seg"}) {
		t.Errorf("when all of one was delivered: %v", files)
	}
	deliver(t, s, second[1:]...)
	must(t, s.Tidy(t.Context()))
	if p := bodyOf(t, s, second[0].ID); p.segment != 2 {
		t.Errorf("moved at once, to %+v", p)
	}
	tidied(t, s, second[0].ID, func(tidy func() error) { must(t, tidy()) })
	if again := large(t, s, 300<<10, 1); bodyOf(t, s, again[0].ID).segment != 3 {
		t.Error("the segment of what moved is not gone on with")
	}
}

// What was being written when the process ended is overwritten by nobody, and gone when nothing else is there.
func TestOldSegmentsAreNotWrittenTo(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, small(fs))
	kept := large(t, s, 200<<10, 1)
	w := s.Create()
	_, err := w.Write(octets(500 << 10))
	must(t, err)
	must(t, s.Close())
	s = open(t, small(fs))
	defer s.Close()
	next := large(t, s, 200<<10, 1)
	if a, b := bodyOf(t, s, kept[0].ID), bodyOf(t, s, next[0].ID); a.segment == b.segment {
		t.Errorf("%+v and %+v", a, b)
	}
	deliver(t, s, append(kept, next...)...)
	tidied(t, s, "", func(tidy func() error) { must(t, tidy()) })
	must(t, s.Check())
}

// A large message that comes from a peer stands in a segment, and leaves none behind when it goes to another.
func TestLargeMessagesAreHandedOn(t *testing.T) {
	s := fresh(t)
	e := to("u@one.test")
	e.ID, e.Accepted, e.Size = "0TAKEN", epoch, 300<<10
	_, err := receive(s, e.ID, octets(300<<10), "try", []envelope.Envelope{e})
	must(t, err)
	if got := content(s, e.ID); !strings.HasSuffix(got, "<nil>") || bodyOf(t, s, e.ID).length != e.Size {
		t.Errorf("%s at %+v", got, bodyOf(t, s, e.ID))
	}
	_, err = s.HandOut(e.ID, "out", Row{Key: "try"})
	must(t, err)
	tidied(t, s, "", func(tidy func() error) { must(t, tidy()) })
}

func TestAbortedBodiesTakeNoRoom(t *testing.T) {
	s := fresh(t)
	for range 5 {
		must(t, abandon(s, 300<<10))
	}
	all := large(t, s, 300<<10, 2)
	if p, next := bodyOf(t, s, all[0].ID), bodyOf(t, s, all[1].ID); p.offset != 0 || next.offset != p.extent() {
		t.Errorf("%+v, then %+v", p, next)
	}
	final := to("u@one.test")
	final.Recipients[0].State = envelope.Suppressed
	created, err := accept(s, 300<<10, final)
	if err != nil || len(created) > 0 {
		t.Errorf("%v, %v", created, err)
	}
	if third := large(t, s, 300<<10, 1); bodyOf(t, s, third[0].ID).offset != 2*bodyOf(t, s, all[0].ID).extent() {
		t.Error("what was final at once takes room")
	}
}

// Bodies that come in at the same time stand in segments of their own, and their octets do not mix.
func TestBodiesAtTheSameTime(t *testing.T) {
	s := fresh(t)
	writers := make([]*Writer, maxIdle+3)
	for range 3 { // pieces of them, in turn
		for i := range writers {
			if writers[i] == nil {
				writers[i] = s.Create()
			}
			_, err := writers[i].Write(octets(70_000 + i))
			must(t, err)
		}
	}
	for i, w := range writers {
		created, err := w.Commit(nil, []envelope.Envelope{to("u@one.test")})
		must(t, err)
		if created[0].Size != int64(3*(70_000+i)) {
			t.Errorf("%d octets", created[0].Size)
		}
	}
	if files := segmentFiles(t, s); len(files) != len(writers) {
		t.Errorf("%d segments", len(files))
	}
	if n := len(s.segments.idle); n != maxIdle {
		t.Errorf("%d stay open", n)
	}
}

// Where it is not known whether the store names a body, nobody writes over it.
func TestBodiesOfUnknownFateAreNotOverwritten(t *testing.T) {
	var broken atomic.Bool
	o := small(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasSuffix(op.Path, ".log") {
			return syscall.EIO
		}
		return nil
	})))
	o.Fatal = func(error) {}
	s := open(t, o)
	all := large(t, s, 200<<10, 1)
	w := s.Create()
	_, err := w.Write(octets(200 << 10))
	must(t, err)
	broken.Store(true)
	if _, err := w.Commit(nil, []envelope.Envelope{to("u@one.test")}); !errors.Is(err, ErrFailed) {
		t.Errorf("committed: %v", err)
	}
	w.Abort()
	next, err := s.segments.begin(all[0].ID)
	if err != nil || next.segment == 1 {
		t.Errorf("the next body: %+v, %v", next.bodyPlace, err)
	}
}

// A disk that is full when a segment is synced ends the process; one that is full when it is written does not.
func TestASyncOfASegmentIsNotTriedAgain(t *testing.T) {
	ended := 0
	o := Options{FS: vfs.NewMem(), Logger: quiet, Fatal: func(error) { ended++ }}.withDefaults()
	l := newLogger(o)
	l.serving.Store(true)
	g := &guarded{name: "000007.seg", kind: segmentFile, disk: disk{FS: o.FS, l: l}}
	for n, what := range []string{"write", "sync"} {
		if err := g.check(what, syscall.ENOSPC); !diskFull(err) || ended != n {
			t.Errorf("%s: %v, ended %d times", what, err, ended)
		}
	}
}

// syncOrder says when a segment's sync returned. It is told of each.
type syncOrder struct {
	vfs.FS
	returned func(name string)
}

type orderedFile struct {
	vfs.File
	name  string
	order *syncOrder
}

func (o *syncOrder) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := o.FS.Create(name, c)
	if kind, _ := parseFile(o.PathBase(name)); kind != segmentFile {
		return f, err
	}
	return &orderedFile{f, name, o}, err
}

func (f *orderedFile) SyncData() error {
	err := f.File.SyncData()
	f.order.returned(f.name)
	return err
}

func (o *syncOrder) OpenDir(name string) (vfs.File, error) {
	f, err := o.FS.OpenDir(name)
	return &orderedDir{f, name, o}, err
}

type orderedDir struct {
	vfs.File
	name  string
	order *syncOrder
}

func (d *orderedDir) Sync() error {
	err := d.File.Sync()
	d.order.returned(d.name)
	return err
}

// The sync of the segment, and of its directory when it is new, has returned before the batch that names the body is
// given to the store: until then the store knows nothing of the message.
func TestBodiesAreSyncedBeforeTheyAreNamed(t *testing.T) {
	order := &syncOrder{FS: vfs.NewMem(), returned: func(string) {}}
	s := open(t, small(order))
	defer s.Close()
	for n, want := range [][]string{{"spool/000001.seg", "spool"}, {"spool/000001.seg"}} {
		w := s.Create()
		_, err := w.Write(octets(300 << 10))
		must(t, err)
		var synced []string
		order.returned = func(name string) {
			if _, err := readMeta(s.db, w.ID()); errors.Is(err, ErrNotFound) {
				synced = append(synced, name)
			}
		}
		_, err = w.Commit(nil, []envelope.Envelope{to("u@one.test")})
		order.returned = func(string) {}
		must(t, err)
		if !slices.Equal(synced, want) {
			t.Errorf("message %d: synced before it was named: %v", n, synced)
		}
	}
}

// judgeSegment opens a spool with a flipped bit in a segment, or without one: messages of that segment are damaged, by a
// flipped bit at most one of them, and no other is touched.
func (l *library) judgeSegment(t *testing.T, fs *vfs.MemFS, what string, rescue bool) string {
	t.Helper()
	o := small(fs)
	var told []Event
	o.OnEvent = func(e Event) { told = append(told, e) }
	s, err := Open("spool", o)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return "changed"
	}
	verdict, damaged := "whole", int64(0)
	for id, want := range l.want {
		got, err := read(s, id)
		switch {
		case errors.Is(err, ErrDamaged) && bodyOf(t, s, id).length > 0:
			verdict = "aside"
			damaged++
		case err != nil || got != want:
			t.Errorf("%s: message %s: %s, %v", what, id, got, err)
			return "changed"
		}
	}
	gone := strings.HasPrefix(what, "without")
	if s.Ledger().Queued != l.queued || gone != (len(told) > 0) || gone != (damaged > 1) {
		t.Errorf("%s: %d of %d recipients, %d messages damaged, told %v", what, s.Ledger().Queued, l.queued, damaged, told)
	}
	if err := s.Check(); (err != nil) != (damaged > 0) {
		t.Errorf("%s: check says %v", what, err)
	}
	must(t, s.Close())
	if rescue {
		l.rescue(t, fs, what)
	}
	return verdict
}

// rewriting is the deed of Tidy: what is done is only seen by where the octets stand.
func rewriting() deed {
	var stays envelope.ID
	var want string
	return deed{
		name: "rewrite a segment",
		given: func(t *testing.T, s *Store) {
			all := large(t, s, 200<<10, 8)
			stays, want = all[1].ID, content(s, all[1].ID)
			deliver(t, s, append(all[:1:1], all[2:]...)...)
			wait(s, calm)
		},
		do: func(s *Store, _ envelope.Key) error {
			return s.Tidy(context.Background())
		},
		done: func(s *Store, _ envelope.Key) bool {
			return s.Ledger() == Ledger{Accepted: 9, Delivered: 7, Queued: 2} && content(s, stays) == want
		},
		fails: func(error) bool { return true },
	}
}

// TestDamagedSegmentsStay: what cannot be read is not copied, and the segment is not removed.
func TestDamagedSegmentsStay(t *testing.T) {
	o := small(vfs.NewMem())
	var told []Event
	o.OnEvent = func(e Event) { told = append(told, e) }
	s := open(t, o)
	defer s.Close()
	all := large(t, s, 200<<10, 8)
	deliver(t, s, all[2:]...)
	flipAt(t, s, bodyOf(t, s, all[0].ID), 150_000)
	wait(s, calm)
	for range 2 {
		must(t, s.Tidy(t.Context()))
	}
	if files := segmentFiles(t, s); !slices.Contains(files, "000001.seg") || len(told) != 1 || told[0].Kind != RecordDamaged {
		t.Errorf("segments %v, told %v", files, told)
	}
	if _, err := read(s, all[0].ID); !errors.Is(err, ErrDamaged) {
		t.Errorf("read: %v", err)
	}
	if got := content(s, all[1].ID); !strings.HasSuffix(got, "<nil>") {
		t.Errorf("the other: %s", got)
	}
}

// TestBodiesOfNobodyStay: a place in a segment that no message names is reported once, and keeps nothing else from
// being tidied.
func TestBodiesOfNobodyStay(t *testing.T) {
	o := small(vfs.NewMem())
	var told []Event
	o.OnEvent = func(e Event) { told = append(told, e) }
	s := open(t, o)
	defer s.Close()
	all := large(t, s, 200<<10, 24)
	orphan := all[1]
	must(t, s.batch(synced, func(tx *tx) error { tx.delete(metaKey(orphan.ID)); return nil }))
	deliver(t, s, slices.Concat(all[2:12], all[13:])...)
	wait(s, calm)
	for range 5 {
		must(t, s.Tidy(t.Context()))
	}
	first, second := bodyOf(t, s, all[0].ID), bodyOf(t, s, all[12].ID)
	if first.segment == 1 || second.segment == 2 {
		t.Errorf("what lives stands in %d and %d", first.segment, second.segment)
	}
	if files := segmentFiles(t, s); !slices.Contains(files, "000001.seg") || slices.Contains(files, "000002.seg") || len(told) != 1 {
		t.Errorf("segments %v, told %v", files, told)
	}
}

// flipAt changes an octet of a body.
func flipAt(t *testing.T, s *Store, p bodyPlace, at int64) {
	t.Helper()
	f, err := s.fs.OpenReadWrite(s.segments.path(p.segment), vfs.WriteCategoryUnspecified)
	must(t, err)
	octet := make([]byte, 1)
	_, err = f.ReadAt(octet, p.offset+at)
	must(t, err)
	octet[0] ^= 1
	_, err = f.WriteAt(octet, p.offset+at)
	must(t, errors.Join(err, f.Close()))
}

// A segment whose counter is wrong is not removed while a message stands in it.
func TestACounterThatLiesRemovesNothing(t *testing.T) {
	o := small(vfs.NewMem())
	s := open(t, o)
	all := large(t, s, 200<<10, 1)
	must(t, s.batch(synced, func(tx *tx) error { tx.account(1, -bodyOf(t, s, all[0].ID).extent()); return nil }))
	if err := s.Check(); err == nil || !strings.Contains(err.Error(), "are counted") {
		t.Errorf("check: %v", err)
	}
	must(t, s.Close())
	s = open(t, o)
	defer s.Close()
	must(t, s.Tidy(t.Context()))
	if got := content(s, all[0].ID); !strings.HasSuffix(got, "<nil>") {
		t.Error(got)
	}
}

// A spool in which large messages stand in chunks is read on, what was being written in it is dropped, and from then on
// older programs refuse it.
func TestSpoolWithLargeMessagesInChunks(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, small(fs))
	k := draft(t, s, 3*chunkSize)
	want := content(s, k.ID)
	unfinished := envelope.ID(strings.Repeat("Z", idLen))
	must(t, s.batch(synced, func(tx *tx) error {
		tx.set(metaKey(k.ID), metaOfFormat2(k))
		tx.set(append([]byte{kindStream}, unfinished...), nil)
		tx.chunk(unfinished, 1, octets(500), nil)
		return nil
	}))
	must(t, s.Close())
	must(t, writeSynced(fs, "spool/"+schemaFile, fmt.Sprintln(firstSegmented-1)))
	s = open(t, small(fs))
	if got := content(s, k.ID); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	must(t, errors.Join(s.Check(), s.Close()))
	if text, err := readAll(fs, "spool/"+schemaFile); text != fmt.Sprintln(schema) || err != nil {
		t.Errorf("version %q, %v", text, err)
	}
}

func metaOfFormat2(k envelope.Key) []byte {
	w := encoder{}
	w.octet(2)
	w.int(3 * chunkSize)
	w.int(3)
	w.int(1)
	w.text(k.Domain)
	return seal(metaKey(k.ID), w.b)
}

func TestPlaces(t *testing.T) {
	for length, want := range map[int64][2]int64{
		1: {1, pageSize}, frameOctets: {1, frameSize}, frameOctets + 1: {2, frameSize + pageSize}, 3*frameOctets - 1: {3, 3 * frameSize},
	} {
		p := bodyPlace{length: length}
		if p.frames() != want[0] || p.extent() != want[1] {
			t.Errorf("%d octets: %d frames, %d octets of a segment", length, p.frames(), p.extent())
		}
	}
	if bytes.Compare(bodyKey(bodyPlace{segment: 1, offset: 1 << 40}), bodyKey(bodyPlace{segment: 2})) >= 0 {
		t.Error("keys do not sort by segment")
	}
}
