package listen

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// never is a time that does not come.
const never = math.MaxInt64

// after is d after now, both in nanoseconds; 0 or less means never.
func after(now int64, d time.Duration) int64 {
	if d <= 0 {
		return never
	}
	return now + int64(d)
}

// deadline is what is known of the deadline of one direction of a socket.
type deadline struct {
	// armed is what was set on the socket by the goroutine that uses the
	// direction, in the listener's time; 0: nothing. It is atomic because
	// setting one by hand clears it.
	armed atomic.Int64
	// taken says that one was set by hand, which has precedence until it is
	// taken back.
	taken atomic.Bool
	// mu keeps arming and setting by hand apart. Neither happens for each request.
	mu sync.Mutex
}

// stands says whether what is armed will do: it must not be later than what is
// due, and not past, for then the socket refuses at once.
func (d *deadline) stands(due, now int64) bool {
	armed := d.armed.Load()
	if armed == 0 {
		return due == never
	}
	return armed <= due && armed > now
}

// arm has set called where the deadline must change. An error of set is not
// reported here: the socket is closed then, and the call that follows says so.
func (d *deadline) arm(epoch time.Time, due int64, set func(time.Time) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.taken.Load() {
		return
	}
	if due == never {
		d.armed.Store(0)
		_ = set(time.Time{})
		return
	}
	d.armed.Store(due)
	_ = set(epoch.Add(time.Duration(due)))
}

// expire ends a call that waits, for its goroutine to look and wait again.
func (d *deadline) expire(set func(time.Time) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.taken.Load() {
		return
	}
	d.armed.Store(expired)
	_ = set(time.Unix(1, 0)) // as in arm
}

// expired, as an armed deadline, is past: the next call arms its own.
const expired = 1

// take sets a deadline by hand; the zero time gives the direction back.
func (d *deadline) take(t time.Time, set func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken.Store(!t.IsZero())
	d.armed.Store(0)
	return set(t)
}

func (c *Conn) armRead(due, now int64) {
	if !c.reads.stands(due, now) {
		c.reads.arm(c.listener.epoch, due, c.socket.SetReadDeadline)
	}
}

func (c *Conn) armWrite(due, now int64) {
	if !c.writes.stands(due, now) {
		c.writes.arm(c.listener.epoch, due, c.socket.SetWriteDeadline)
	}
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline puts t in the place of the connection's own deadlines for
// reading; the zero time puts them back. Any goroutine may call it, and so end a
// Read that waits.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.reads.take(t, c.socket.SetReadDeadline)
}

// SetWriteDeadline is the same for writing.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.writes.take(t, c.socket.SetWriteDeadline)
}
