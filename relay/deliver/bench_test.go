package deliver_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/postrider/postrider/relay/deliver"
	"github.com/postrider/postrider/relay/smtptest"
)

// BenchmarkDo delivers over 20 connections that are reused.
func BenchmarkDo(b *testing.B) {
	for name, size := range map[string]int{"4KiB": 4 << 10, "4KiB-CHUNKING": 4 << 10, "1MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			o := smtptest.Options{Discard: true}
			if strings.HasSuffix(name, "CHUNKING") {
				o.Offer = []string{"CHUNKING"}
			}
			s := newSink(b, o)
			c := deliver.New(deliver.Options{})
			b.Cleanup(c.CloseIdle)
			body := []byte(strings.Repeat("The quick brown fox jumps over the lazy dog. 0123456789\r\n", size/57+1))
			e := mail("a@x.test")
			e.Size = int64(len(body))
			p := plan(hop(s.Port()))
			b.SetBytes(e.Size)
			b.ReportAllocs()
			b.SetParallelism(10)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					o := c.Do(b.Context(), "relay.test", e, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }, p)
					if o[0].Reply.Code != 250 {
						b.Error(o[0].Reply)
						return
					}
				}
			})
			b.ReportMetric(float64(s.Accepted())/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64(s.Connections()), "connections")
		})
	}
}
