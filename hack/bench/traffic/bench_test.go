package traffic

import (
	"fmt"
	"testing"
)

// BenchmarkSendIntoSink is the most that the bench could ever measure: no engine stands between.
func BenchmarkSendIntoSink(b *testing.B) {
	for _, octets := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprint(octets), func(b *testing.B) {
			s, err := NewSink(SinkOptions{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.SetBytes(int64(octets))
			b.ReportAllocs()
			if _, err := Send(b.Context(), load(s.Address(), func(l *Load) { l.Sessions, l.Messages, l.Octets = 50, b.N, octets })); err != nil {
				b.Fatal(err)
			}
			if got := s.Arrived().Messages; got != b.N {
				b.Errorf("%d arrived of %d", got, b.N)
			}
		})
	}
}
