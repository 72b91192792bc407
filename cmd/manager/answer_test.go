package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// The manager waits for an API server that is away or in trouble, and not for one that refuses it: that has its own error.
func TestAwaitAnswer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		codes []int // the last one stays
		asked int32
	}{
		"it answers":       {[]int{200}, 1},
		"it refuses us":    {[]int{401}, 1},
		"it starts":        {[]int{503, 200}, 2},
		"it has much load": {[]int{429, 403}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n := int(asked.Add(1))
				w.WriteHeader(test.codes[min(n, len(test.codes))-1])
			}))
			defer api.Close()
			if err := awaitAnswer(t.Context(), &rest.Config{Host: api.URL}, time.Millisecond); err != nil || asked.Load() != test.asked {
				t.Errorf("asked %d times, %v", asked.Load(), err)
			}
		})
	}
	t.Run("there is none", func(t *testing.T) {
		t.Parallel()
		ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		if err := awaitAnswer(ctx, &rest.Config{Host: "http://" + freeAddress(t)}, time.Millisecond); err == nil {
			t.Error("it did not wait")
		}
	})
}
