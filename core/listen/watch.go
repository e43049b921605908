package listen

import (
	"time"

	"github.com/suuupra/gateway/core/socket"
)

// watchEvery is the time between two rounds of the watch. A client that is early
// for the first time waits for two of them at most. It is a compromise: each round
// touches every open connection.
const watchEvery = 25 * time.Millisecond

// watch looks once at each blind wait of the listener's connections (see
// stream). Once nothing was found, whatever comes later wakes the poller. It
// ends when the listener is closed and its last connection gone; CloseAll
// awaits it.
func (l *Listener) watch() {
	timer := l.options.Clock.NewTimer(watchEvery)
	defer timer.Stop()
	var conns []*Conn
	closing := l.closing
	for {
		select {
		case <-timer.C():
		case <-closing:
			closing = nil // seen; connections may live on
		case <-l.emptied:
			return
		}
		conns = l.appendConnections(conns[:0])
		if len(conns) == 0 && l.closed() {
			return
		}
		for _, c := range conns {
			c.verify()
		}
		clear(conns)
		timer.Reset(watchEvery)
	}
}

// verify looks at the socket if it is waited for blindly. What stands there has
// woken the reader, unless it stood there before the wait: so the reader has
// until the next round to come for it, and only then is made to look. The watch
// alone calls it.
func (c *Conn) verify() {
	wait := c.stream.wait.Load()
	if wait%2 == 0 || wait == c.verified {
		return
	}
	silent := c.lookNow() == socket.Silent
	switch {
	case c.stream.wait.Load() != wait: // the look may have been too soon for this one
	case silent:
		c.verified = wait
	case c.suspect != wait:
		c.suspect = wait
	default:
		c.stream.distrust.Store(looksAgain)
		c.reads.expire(c.socket.SetReadDeadline)
	}
}
