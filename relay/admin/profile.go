package admin

import (
	"net/http"
	"net/http/pprof"
)

// serveProfiles serves where the process spends time and memory, for go tool pprof. They stand on the socket alone:
// whoever may open it may also see what they name.
func serveProfiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}
