package main

import (
	"os"
	"runtime"
)

// processorsPerCore is how many threads run Go code for each core. Much of a relay's work is system calls: writes to
// sockets, syncs of the log. For its time in one a thread holds a processor of the runtime, so that with one for each
// core some cores have nothing to do while mail waits. More than two bring nothing.
const processorsPerCore = 2

// useProcessors sets how many threads run Go code, unless the environment does by GOMAXPROCS. The runtime knows of a
// container's limit.
func useProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processorsPerCore * runtime.GOMAXPROCS(0))
	}
}
