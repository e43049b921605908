package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/gateway"
)

// inherited returns the listening sockets that the service manager has passed on
// (LISTEN_FDS), by the name of the listener that each is for. One that no listener
// claims is an error: nobody would ever accept from it. It is called once.
func inherited(cfg *config.Config) (map[string]*net.TCPListener, error) {
	names := gateway.ListenerNames(cfg)
	sockets := map[string]*net.TCPListener{}
	for _, f := range activation.Files(true) {
		name := f.Name()
		switch {
		case !slices.Contains(names, name):
			return nil, fmt.Errorf("the service manager passed a socket named %q, but the listeners are named %s: set FileDescriptorName= in the [Socket] section of its unit to one of them",
				name, strings.Join(names, ", "))
		case sockets[name] != nil:
			return nil, fmt.Errorf("the service manager passed two sockets named %q: a listener takes one; make a unit and a listener for the other", name)
		}
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("the socket named %q, which the service manager passed, does not listen: %w", name, err)
		}
		_ = f.Close() // l has a descriptor of its own
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			_ = l.Close() // nobody uses it
			return nil, fmt.Errorf("the socket named %q, which the service manager passed, is %s: want TCP; ListenStream= takes a port or address:port", name, l.Addr().Network())
		}
		sockets[name] = tcp
	}
	return sockets, nil
}

// supervisor is the service manager that has started the program: systemd, or
// another that speaks its protocol (NOTIFY_SOCKET). Without one its methods do nothing.
type supervisor struct {
	log     zerolog.Logger
	leaving atomic.Bool // stopping was called: it is the last word on the program's state
}

// stopMargin is what a stop may take beyond the drain.
const stopMargin = 15 * time.Second

// ready says that requests are served, and how.
func (s *supervisor) ready(status string) {
	if !s.leaving.Load() {
		s.tell(daemon.SdNotifyReady, "STATUS="+status)
	}
}

// reloading says that a new configuration is being read; ready ends that, whatever
// came of it.
func (s *supervisor) reloading() {
	if s.leaving.Load() {
		return
	}
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // every Linux has that clock
	s.tell(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond)), "STATUS=reading the configuration")
}

// stopping says that the program drains, and for how long it may. So the unit's
// TimeoutStopSec= need not follow what the configuration says.
func (s *supervisor) stopping(drain time.Duration) {
	s.leaving.Store(true)
	s.tell(daemon.SdNotifyStopping, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (drain+stopMargin).Microseconds()), "STATUS=draining")
}

func (s *supervisor) tell(lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		s.log.Warn().Err(err).Str("state", lines[0]).Msg("the service manager can't be told")
	}
}

// guard tells the watchdog of the service manager (WatchdogSec=), twice in each of
// its intervals, that the program is well, as long as check says so in time. One that
// is not told kills the program and starts it again. The returned function ends it.
func (s *supervisor) guard(check func(context.Context) error) (end func()) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn().Err(err).Msg("the watchdog is off")
	}
	if interval == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends with end, which awaits it
		defer close(done)
		s.attest(ctx, interval/2, check)
	}()
	return func() {
		cancel()
		select {
		case <-done:
		case <-time.After(stopMargin): // check hangs in spite of its context; the process ends all the same
		}
	}
}

// attest tells the watchdog after each check that has passed, until ctx is done.
func (s *supervisor) attest(ctx context.Context, every time.Duration, check func(context.Context) error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, every)
		err := check(limited)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Error().Err(err).Msg("the self-check failed: the watchdog is not told, and will restart the program if this goes on")
		default:
			s.tell(daemon.SdNotifyWatchdog)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// tellReady tells the service manager what is in force, and how its last reload went.
func (p *program) tellReady() {
	f := p.InForce()
	status := fmt.Sprintf("%d routes, %d services", f.Routes, f.Services)
	if f.LastReload != nil && f.LastReload.Result == admin.Refused {
		status += "; the last reload was refused"
	}
	p.supervisor.ready(status)
}

// turns is the self-check of the watchdog: accept loops turn, and the locks of every
// part that shows itself as a metric can be taken.
func (p *program) turns(ctx context.Context) error {
	p.meter.WritePrometheus(io.Discard)
	return p.gateway.Turns(ctx)
}
