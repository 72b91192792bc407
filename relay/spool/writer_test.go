package spool

import "testing"

// TestBuffersComeBack: the next message is written into the buffer of one that ended. A pool may drop what it is
// given, and does so now and then under the race detector, so one of many is enough.
func TestBuffersComeBack(t *testing.T) {
	s := &Store{}
	for range 100 {
		w := &Writer{s: s, buf: make([]byte, 10, 4096)}
		w.release()
		if w.buf != nil {
			t.Fatal("the writer still has its buffer")
		}
		if b, ok := s.buffers.Get().(*[]byte); ok && cap(*b) == 4096 {
			return
		}
	}
	t.Error("no buffer came back")
}

func TestBuffersOfReadersComeBack(t *testing.T) {
	s := &Store{}
	for range 100 {
		m := &Message{s: s, buf: make([]byte, 10, 4096)}
		if err := m.Close(); err != nil || m.buf != nil {
			t.Fatal("the reader still has its buffer")
		}
		if b, ok := s.buffers.Get().(*[]byte); ok && cap(*b) == 4096 {
			return
		}
	}
	t.Error("no buffer came back")
}
