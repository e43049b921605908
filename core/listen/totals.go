package listen

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
)

// Totals bounds how many connections are open at once, in all and for one client
// address, over all the listeners that share it. Its methods may be called
// concurrently.
type Totals struct {
	perIP int
	ids   atomic.Uint64 // the last connection id given out; written at accept

	// mu guards all below: taken once at accept and once at close, never by a
	// request.
	mu        sync.Mutex
	maximum   int
	open      int
	addresses map[netip.Prefix]int
}

// NewTotals makes totals of maximum connections in all and perIP for each client
// address; 0 means no bound. An IPv6 client counts by its /64, of which it
// usually has all addresses.
func NewTotals(maximum, perIP int) *Totals {
	return &Totals{maximum: maximum, perIP: perIP, addresses: make(map[netip.Prefix]int)}
}

// reservedDescriptors are left for logs, stores and listeners when the number of
// connections is derived from the limit of the process.
const reservedDescriptors = 128

// DefaultConnections is how many connections the process can afford by its
// RLIMIT_NOFILE: each may need a second descriptor, towards a service.
func DefaultConnections() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return connectionsFor(fallbackDescriptors)
	}
	return connectionsFor(limit.Cur)
}

const (
	fallbackDescriptors = 1024    // the customary limit where none can be read
	mostDescriptors     = 1 << 21 // beyond it the limit means "unlimited"
)

func connectionsFor(descriptors uint64) int {
	n := min(descriptors, mostDescriptors)
	if n <= 2*reservedDescriptors {
		return int(max(n/4, 1))
	}
	return int(n-reservedDescriptors) / 2
}

// Open is how many connections are open now.
func (t *Totals) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

// Maximum is how many may be open at once; 0: any number.
func (t *Totals) Maximum() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.maximum
}

// SetMaximum bounds the connections to come; those that are open stay, even if
// they are too many.
func (t *Totals) SetMaximum(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.maximum = n
}

// admission is what Totals says to a new connection.
type admission uint8

const (
	admitted admission = iota
	full               // too many connections in all
	crowded            // too many from this address
)

// account is what one connection is counted as.
type account struct {
	client netip.Addr
	known  bool // false: in all, and for no address yet
}

// enter counts a connection, unless it is one too many.
func (t *Totals) enter(a account) admission {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.maximum > 0 && t.open >= t.maximum {
		return full
	}
	if a.known && !t.charge(a.client) {
		return crowded
	}
	t.open++
	return admitted
}

// name counts a connection for the address that it turned out to be from, unless
// it is one too many. It was counted in all by enter.
func (t *Totals) name(client netip.Addr) admission {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.charge(client) {
		return crowded
	}
	return admitted
}

// charge counts for one address. It is called under mu.
func (t *Totals) charge(client netip.Addr) bool {
	if t.perIP == 0 {
		return true
	}
	key := countedAs(client)
	if t.addresses[key] >= t.perIP {
		return false
	}
	t.addresses[key]++
	return true
}

// leave takes back what was counted.
func (t *Totals) leave(a account) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
	if a.known && t.perIP > 0 {
		key := countedAs(a.client)
		if t.addresses[key]--; t.addresses[key] == 0 {
			delete(t.addresses, key)
		}
	}
}

// countedAs is the network that a counts for. The zero prefix stands for an
// address that is not known.
func countedAs(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
