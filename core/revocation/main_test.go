package revocation_test

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/revocation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fatal is what tests and properties have in common.
type fatal interface {
	Helper()
	Fatal(...any)
}

// made returns a mirror; what o leaves out is the machine's.
func made(t fatal, o revocation.Options) *revocation.Mirror {
	t.Helper()
	if o.Clock == nil {
		o.Clock = clock.Real()
	}
	if o.Meter == nil {
		o.Meter = meter.NewSet(o.Clock.Now)
	}
	if o.Log.GetLevel() == zerolog.NoLevel {
		o.Log = zerolog.Nop()
	}
	m, err := revocation.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// running is made, and runs until the test ends.
func running(t testing.TB, o revocation.Options) *revocation.Mirror {
	t.Helper()
	m := made(t, o)
	run(t, m)
	return m
}

// run runs a mirror until the returned function is called, or the test ends.
func run(t testing.TB, m *revocation.Mirror) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func revoke(t testing.TB, m *revocation.Mirror, entries ...revocation.Entry) {
	t.Helper()
	if err := m.Revoke(context.Background(), entries...); err != nil {
		t.Fatal(err)
	}
}

func hence(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// session is an entry that refuses a session for an hour.
func session(id string) revocation.Entry {
	return revocation.Entry{Key: revocation.SessionKey(id), Expires: hence(time.Hour)}
}

func clockOf() clock.Clock { return clock.Real() }

func meterOf() *meter.Set { return meter.NewSet(time.Now) }
