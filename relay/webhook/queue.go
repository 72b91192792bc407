package webhook

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// maxBatch and maxBatchSize bound a batch, in events and in octets; maxLine bounds an event.
	maxBatch     = 256
	maxBatchSize = 256 << 10
	maxLine      = 64 << 10
	// segmentShare is the part of the quota that a segment may have, and that goes at once when it is full.
	segmentShare = 32

	segmentSuffix = ".jsonl"
	positionFile  = "position"
)

// queue is events on disk: segment files of JSON lines, the oldest first, and a file that says how far they are told.
// Nothing is synced. One goroutine uses it.
type queue struct {
	dir      string
	quota    int64
	segments []*segment
	// number is that of the latest segment there ever was.
	number uint64
	// file and out write the last segment; nil when the next event begins one.
	file *os.File
	out  *bufio.Writer
	// flying is the batch that was taken and not settled, if any.
	flying *batch
}

// segment is one file. Its first told events, up to the octet at, need not be told any more.
type segment struct {
	number uint64
	size   int64
	events int
	at     int64
	told   int
}

// batch is some events in a row of one segment.
type batch struct {
	segment *segment // nil once it was dropped
	end     int64    // where in the segment it ends
	events  int      // that it holds
	spoilt  int      // that were passed over: what is written there is no JSON
	body    []byte
}

// openQueue opens the queue in dir. A line that was not written to its end is not among its events.
func openQueue(dir string, quota int64) (*queue, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	q := &queue{dir: dir, quota: quota}
	for _, entry := range entries {
		number, ok := segmentNumber(entry.Name())
		if !ok {
			continue
		}
		s, err := readSegment(q.path(number), number)
		if err != nil {
			return nil, err
		}
		q.segments = append(q.segments, s)
	}
	slices.SortFunc(q.segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	if len(q.segments) > 0 {
		q.number = q.last().number
	}
	if err := q.resume(); err != nil {
		return nil, err
	}
	return q, nil
}

func segmentNumber(name string) (uint64, bool) {
	var number uint64
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	_, err := fmt.Sscanf(digits, "%d", &number)
	return number, ok && err == nil && number > 0
}

func (q *queue) path(number uint64) string {
	return filepath.Join(q.dir, fmt.Sprintf("%016d%s", number, segmentSuffix))
}

// readSegment counts the events of a file, up to its last whole line.
func readSegment(path string, number uint64) (*segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := &segment{number: number}
	in := bufio.NewReaderSize(f, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return s, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
		s.size += int64(len(line))
		if err == nil {
			s.events++
		}
	}
}

// resume takes up where the process before was. A position that cannot be read means that some events are told again.
func (q *queue) resume() error {
	data, err := os.ReadFile(filepath.Join(q.dir, positionFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var at segment
	if _, err := fmt.Sscanf(string(data), "%d %d %d\n", &at.number, &at.at, &at.told); err != nil {
		return nil //nolint:nilerr // torn by a crash, or none yet
	}
	q.number = max(q.number, at.number)
	for len(q.segments) > 0 && q.segments[0].number < at.number {
		q.drop()
	}
	if len(q.segments) > 0 && q.segments[0].number == at.number && at.at <= q.segments[0].size && at.told <= q.segments[0].events {
		q.segments[0].at, q.segments[0].told = at.at, at.told
	}
	return nil
}

// waiting is how many events are yet to be told, those in flight included.
func (q *queue) waiting() int {
	n := 0
	for _, s := range q.segments {
		n += s.events - s.told
	}
	if q.flying != nil && q.flying.segment == nil {
		n += q.flying.events
	}
	return n
}

func (q *queue) size() int64 {
	n := int64(0)
	for _, s := range q.segments {
		n += s.size
	}
	return n
}

// add appends an event, which flush gives to the file system. It returns how many others had to go for it.
func (q *queue) add(line []byte) (dropped int, err error) {
	if len(line) > maxLine {
		return 0, fmt.Errorf("an event of %d octets is too long", len(line))
	}
	if q.file != nil && q.last().size+int64(len(line)) > q.quota/segmentShare {
		err = q.seal()
	}
	if q.file == nil {
		if err := q.begin(); err != nil {
			return 0, err
		}
	}
	q.last().size += int64(len(line))
	q.last().events++
	_, _ = q.out.Write(line) // an error sticks until flush
	for len(q.segments) > 1 && q.size() > q.quota {
		dropped += q.drop()
	}
	return dropped, err
}

func (q *queue) last() *segment { return q.segments[len(q.segments)-1] }

// begin starts a segment.
func (q *queue) begin() error {
	f, err := os.OpenFile(q.path(q.number+1), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	q.number++
	q.segments = append(q.segments, &segment{number: q.number})
	q.file, q.out = f, bufio.NewWriterSize(f, maxLine)
	return nil
}

// flush gives what was added to the file system. After an error the events that were not written are lost; the error
// says how many.
func (q *queue) flush() error {
	if q.file == nil {
		return nil
	}
	err := q.out.Flush()
	if err == nil {
		return nil
	}
	_ = q.file.Close()
	q.file, q.out = nil, nil
	last, before := q.last(), q.last().events
	written, failed := readSegment(q.path(last.number), last.number)
	if failed == nil {
		last.size, last.events = max(written.size, last.at), max(written.events, last.told)
	}
	return &lostError{events: before - last.events, cause: errors.Join(err, failed)}
}

// lostError says that events could not be written.
type lostError struct {
	events int
	cause  error
}

func (e *lostError) Error() string {
	return fmt.Sprintf("%d events not written: %v", e.events, e.cause)
}
func (e *lostError) Unwrap() error { return e.cause }

// seal ends the segment that is being written.
func (q *queue) seal() error {
	err := q.flush()
	if q.file != nil {
		err = errors.Join(err, q.file.Close())
	}
	q.file, q.out = nil, nil
	return err
}

// drop removes the oldest segment, and returns how many of its events nobody was told, and nobody is being told.
func (q *queue) drop() int {
	oldest := q.segments[0]
	q.segments = q.segments[1:]
	if len(q.segments) == 0 && q.file != nil {
		_ = q.file.Close()
		q.file, q.out = nil, nil
	}
	_ = os.Remove(q.path(oldest.number))
	lost := oldest.events - oldest.told
	if q.flying != nil && q.flying.segment == oldest {
		lost -= q.flying.events + q.flying.spoilt
		q.flying.segment = nil
	}
	return lost
}

// giveWay removes the oldest segment but the one that is being written, and returns how many events are lost by it.
func (q *queue) giveWay() int {
	if len(q.segments) == 0 || len(q.segments) == 1 && q.file != nil {
		return 0
	}
	return q.drop()
}

// take reads the next batch; nil when nothing waits. It must be settled before the next is taken.
func (q *queue) take() (*batch, error) {
	for len(q.segments) > 0 && q.segments[0].told == q.segments[0].events && (len(q.segments) > 1 || q.file == nil) {
		q.drop()
	}
	if len(q.segments) == 0 || q.segments[0].told == q.segments[0].events {
		return nil, nil
	}
	if err := q.flush(); err != nil {
		return nil, err
	}
	b, err := readBatch(q.path(q.segments[0].number), q.segments[0])
	if err != nil {
		return nil, err
	}
	q.flying = b
	return b, nil
}

// readBatch reads the next lines of a segment.
func readBatch(path string, s *segment) (*batch, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := &batch{segment: s, end: s.at}
	var lines [][]byte
	in := bufio.NewReaderSize(io.NewSectionReader(f, s.at, s.size-s.at), maxLine)
	for len(lines) < maxBatch && b.end-s.at < maxBatchSize {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		b.end += int64(len(line))
		if !json.Valid(line) {
			b.spoilt++
			continue
		}
		lines = append(lines, line[:len(line)-1])
	}
	if b.events = len(lines); b.events+b.spoilt == 0 {
		return nil, errors.New("the segment is shorter than it was")
	}
	b.body = array(lines)
	return b, nil
}

// settle says that the events of a batch need not be told any more.
func (q *queue) settle(b *batch) error {
	q.flying = nil
	if b.segment == nil {
		return nil
	}
	b.segment.at, b.segment.told = b.end, b.segment.told+b.events+b.spoilt
	text := fmt.Sprintf("%d %d %d\n", b.segment.number, b.segment.at, b.segment.told)
	next := filepath.Join(q.dir, positionFile+".next")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(q.dir, positionFile))
}
