package spool

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestPreviewIsWhatWasWritten(t *testing.T) {
	s := fresh(t)
	for _, size := range []int{0, 1, smallSize, frameOctets - 1, frameOctets, frameOctets + 1, 3 * frameOctets, 3*frameOctets + 17} {
		written := make([]byte, size)
		for i := range written {
			written[i] = byte(i * 31 >> 3)
		}
		w := s.Create()
		if _, err := w.Write(written); err != nil {
			t.Fatal(err)
		}
		if w.Written() != int64(size) {
			t.Errorf("%d octets: Written is %d", size, w.Written())
		}
		for _, from := range []int{0, 1, size / 2, size} {
			got, err := io.ReadAll(w.Preview(int64(from)))
			if err != nil || !bytes.Equal(got, written[min(from, size):]) {
				t.Errorf("%d octets from %d: read %d, %v", size, from, len(got), err)
			}
		}
		if err := iotest.TestReader(w.Preview(0), written); err != nil && size < 2*frameOctets {
			t.Errorf("%d octets: %v", size, err)
		}
		p := w.Preview(0)
		w.Abort()
		if _, err := p.Read(make([]byte, 1)); !errors.Is(err, errDone) {
			t.Errorf("after Abort: %v", err)
		}
	}
}
