package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// dial opens a connection, its handshake included, until due (monotonic ns). An address that is no name is
// connected to as it is; a name is asked for by the system's rules, and its IPv6
// and IPv4 addresses are raced (RFC 8305). Proxies of the environment are not
// used (SECURITY C13).
func (p *pool) dial(due int64) (*conn, error) {
	timeout := time.Duration(due - p.proxy.clock.Mono())
	if timeout <= 0 {
		return nil, fmt.Errorf("connecting to %s: %w", p.address, errTimeout)
	}
	dialer := net.Dialer{Timeout: timeout, Control: p.proxy.control}
	nc, err := dialer.Dial("tcp", p.address)
	if err != nil {
		p.proxy.metrics.dialErrors.Add(0, 1)
		return nil, fmt.Errorf("connecting to %s: %w", p.address, err)
	}
	c, err := newConn(p, nc.(*net.TCPConn))
	if err == nil && p.sealing != nil {
		if err = p.sealing.shake(c, due); err != nil {
			p.proxy.metrics.dialErrors.Add(0, 1)
		}
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	p.proxy.metrics.dials.Add(0, 1)
	p.proxy.sweeper.add(c)
	return c, nil
}

// errBarred says that an endpoint's name leads where no request may go.
var errBarred = errors.New("no endpoint may be there")

// control stands between resolving and connecting: what a name leads to is known
// only here, and may change with every answer of a resolver (SECURITY C8).
func (p *Proxy) control(_, address string, _ syscall.RawConn) error {
	if p.barred == nil {
		return nil
	}
	to, err := netip.ParseAddrPort(address)
	if err == nil && p.barred(netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port())) {
		err = errBarred
	}
	return err
}
