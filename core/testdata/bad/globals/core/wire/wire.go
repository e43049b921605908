// Package wire changes.
package wire

import (
	"errors"
	"sync"
	"sync/atomic"
)

var (
	errBad  = errors.New("bad")
	names   = map[string]int{"a": 1}
	seen    = make(map[string]int) // want globals "map to be filled"
	lock    sync.Mutex             // want globals "sync.Mutex"
	pool    = sync.Pool{}          // want globals "sync.Pool"
	once    = new(sync.Once)       // want globals "sync.Once"
	current atomic.Pointer[int]    // want globals "atomic.Pointer"
	stripes [8]atomic.Uint64       // want globals "atomic.Uint64"
	queue   = make(chan int, 1)    // want globals "channel"
	counter int
	digits  = [10]byte{}
	limits  = struct{ uri int }{uri: 1}
	lazy    = sync.OnceValue(func() int { return len(names) })
)

func write(names []int) {
	names[0] = 1 // a parameter of the same name
	counter++    // want globals "counter is written"
	var digits [10]byte
	digits[0] = 1
}
