package account_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/clock"
)

// The delays of one account from one network: three free, then 1, 2, 4… s, and after
// ten the rest of a quarter of an hour. Unknown users are no exception.
func TestI11_DelaysGrowThenClose(t *testing.T) {
	t.Parallel()
	for _, email := range []string{"ann@example.com", "unknown@example.com"} {
		b := bench(t)
		b.create("ann")
		var waited []string
		for range 14 {
			err := b.login(email, "Wrong-Pass1!", home)
			if d := waits(err); d > 0 {
				waited = append(waited, d.String())
				b.advance(d)
				err = b.login(email, "Wrong-Pass1!", home)
			}
			b.wants("wrong", err, account.ErrCredentials)
		}
		if got, want := strings.Join(waited, " "), "1s 2s 4s 8s 16s 32s 13m57s"; got != want {
			t.Errorf("%s waits %s, want %s", email, got, want)
		}
	}
}

// While an attempt must wait nothing is verified: a right password is no exception.
func TestI11_CountedBeforeVerifying(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("ann")
	for range 4 {
		b.wants("wrong", b.login(ann.Email, "Wrong-Pass1!", home), account.ErrCredentials)
	}
	if err := b.login(ann.Email, password, home); waits(err) != time.Second {
		t.Errorf("too early: %v", err)
	}
	b.metric(`gateway_logins_throttled_total{by="pair"} 1`)
	b.advance(time.Second)
	b.wants("in time", b.login(ann.Email, password, home), nil)
	for range 3 { // and all is forgotten
		b.wants("wrong", b.login(ann.Email, "Wrong-Pass1!", home), account.ErrCredentials)
	}
}

func TestI11_AtOnceNoMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("ann")
	var verified atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := b.login(ann.Email, "Wrong-Pass1!", home); errors.Is(err, account.ErrCredentials) {
				verified.Add(1)
			}
		})
	}
	all.Wait()
	if verified.Load() != 4 { // three free, and the one that makes the next wait
		t.Errorf("%d of 50 were verified", verified.Load())
	}
}

// attack tries an account from everywhere until it is throttled as a whole.
func (b *workbench) attack(email string) {
	b.t.Helper()
	for i := range 1000 {
		if waits(b.login(email, "Wrong-Pass1!", address(i))) > 0 {
			return
		}
	}
	b.t.Fatal("a thousand attempts on one account, and none is throttled")
}

func TestI11_NobodyLocksAnotherOut(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("ann")
	device := b.Device(ann.ID)
	elsewhere := netip.MustParseAddr("198.51.100.7")
	b.attack(ann.Email)
	for range 40 { // the attack goes on, and the delay has grown to its ceiling
		b.advance(30 * time.Second)
		_ = b.login(ann.Email, "Wrong-Pass1!", address(2000))
		b.attack(ann.Email)
	}
	err := b.login(ann.Email, password, elsewhere)
	if d := waits(err); d <= 0 || d > 30*time.Second {
		t.Errorf("an unknown device: %v; want at most 30 s to wait", err)
	}
	known := account.Attempt{Email: ann.Email, Password: password, From: elsewhere, Device: device}
	if _, err := b.Authenticate(t.Context(), known); err != nil {
		t.Errorf("a known device: %v", err)
	}
	b.metric(`gateway_logins_throttled_total{by="device"} 0`)
	// Nor does somebody behind the same address.
	for range 300 {
		b.advance(time.Millisecond)
		_ = b.login(ann.Email, "Wrong-Pass1!", elsewhere)
		_ = b.login("other@example.com", "Wrong-Pass1!", elsewhere)
	}
	if _, err := b.Authenticate(t.Context(), known); err != nil {
		t.Errorf("a known device beside an attacker: %v", err)
	}
	b.advance(30 * time.Second)
	b.wants("an unknown device, after the ceiling", b.login(ann.Email, password, netip.MustParseAddr("203.0.113.9")), nil)
}

// A stolen device cookie has as many attempts as a network has, wherever it is used.
func TestI11_AKnownDeviceIsCounted(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann, bob := b.create("ann"), b.create("bob")
	device := b.Device(ann.ID)
	verified := 0
	for i := range 50 {
		at := account.Attempt{Email: ann.Email, Password: "Wrong-Pass1!", From: address(i), Device: device}
		if _, err := b.Authenticate(t.Context(), at); errors.Is(err, account.ErrCredentials) {
			verified++
		}
	}
	if verified != 4 {
		t.Errorf("%d of 50 were verified", verified)
	}
	b.metric(`gateway_logins_throttled_total{by="device"} 46`)
	// For another user it is nothing: he is counted as everybody.
	for range 5 {
		_, _ = b.Authenticate(t.Context(), account.Attempt{Email: bob.Email, Password: "Wrong-Pass1!", From: home, Device: device})
	}
	b.metric(`gateway_logins_throttled_total{by="pair"} 1`)
}

func TestI11_Devices(t *testing.T) {
	t.Parallel()
	b := bench(t)
	device := b.Device("ann")
	if !regexp.MustCompile(`^[A-Za-z0-9_.-]{80,120}$`).MatchString(device) || device == b.Device("ann") {
		t.Errorf("device %q", device)
	}
	if !b.DeviceKnown(device, "ann") || b.DeviceKnown(device, "bob") {
		t.Error("a device is known for its own user, and no other")
	}
	parts := strings.Split(device, ".")
	for _, bad := range []string{"", ".", "...", "ann", device[:len(device)-1], device + "A", "bob" + device[3:], strings.Join(parts[:3], "."),
		"ann." + parts[1] + "." + parts[3], strings.Repeat("a", 1<<20), "\x00" + device} {
		if b.DeviceKnown(bad, "ann") || b.DeviceKnown(bad, "bob") || b.DeviceKnown(bad, "") {
			t.Errorf("%.60q is known", bad)
		}
	}
	other := account.New(account.Options{Store: b.store, Throttle: account.NewMemoryThrottle(b.clock), Passwords: b.passwords, Clock: b.clock})
	if other.DeviceKnown(device, "ann") {
		t.Error("it is known to a gateway with another key")
	}
	if !other.DeviceKnown(other.Device("ann"), "ann") {
		t.Error("a gateway without a key knows none of its own devices")
	}
	b.advance(400*24*time.Hour - time.Second)
	if !b.DeviceKnown(device, "ann") {
		t.Error("it is not known for 400 days")
	}
	b.advance(time.Second)
	if b.DeviceKnown(device, "ann") {
		t.Error("it is known for longer")
	}
}

func TestI11_OneNetworkManyAccounts(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("ann")
	network := func(i int) netip.Addr {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:0:1:%x::1", i)) // all of one /64
	}
	for i := range 100 {
		b.wants("spraying", b.login(fmt.Sprintf("user%d@example.com", i), password, network(i)), account.ErrCredentials)
	}
	if err := b.login(ann.Email, password, network(500)); waits(err) != 15*time.Minute {
		t.Errorf("the 101st: %v", err)
	}
	b.wants("another /64", b.login(ann.Email, password, netip.MustParseAddr("2001:db8:0:2::1")), nil)
	b.advance(15 * time.Minute)
	b.wants("later", b.login(ann.Email, password, network(1)), nil)
}

// Those who share an address and type their passwords right use nothing up; and an
// attacker does not buy attempts by logging into an account of his own.
func TestI11_SuccessTakesBackItsOwnAttemptAlone(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("ann")
	for range 150 {
		b.wants("right", b.login(ann.Email, password, home), nil)
	}
	guesses := 0
	for i := range 300 {
		b.wants("his own", b.login(ann.Email, password, netip.MustParseAddr("192.0.2.2")), nil)
		if err := b.login(fmt.Sprintf("user%d@example.com", i), password, netip.MustParseAddr("192.0.2.2")); waits(err) > 0 {
			break
		}
		guesses++
		if guesses == 100 {
			if err := b.login(ann.Email, password, netip.MustParseAddr("192.0.2.2")); waits(err) == 0 {
				t.Errorf("after 100 guesses: %v", err)
			}
			return
		}
	}
	t.Errorf("%d guesses", guesses)
}

// A right password resets nothing until the second factor passed.
func TestI11_APasswordAloneResetsNothing(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann, e, _ := b.enrol("ann")
	for range 4 {
		b.wants("right", b.login(ann.Email, password, home), nil)
	}
	if err := b.login(ann.Email, password, home); waits(err) != time.Second {
		t.Errorf("the fifth without a code: %v", err)
	}
	b.wants("code", b.SecondFactor(t.Context(), ann.ID, b.code(e, 0), home), nil)
	for range 4 {
		b.wants("after both", b.login(ann.Email, password, home), nil)
	}
	b.metric(`gateway_logins_total{outcome="code_needed"} 8`)
	b.metric(`gateway_logins_total{outcome="success"} 1`)
}

func TestI11_CodesHaveACounterOfTheirOwn(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann, e, _ := b.enrol("ann")
	for range 4 {
		b.wants("wrong code", b.SecondFactor(t.Context(), ann.ID, "000000", home), account.ErrCode)
		b.wants("right password", b.login(ann.Email, password, address(1)), nil)
	}
	if err := b.SecondFactor(t.Context(), ann.ID, b.code(e, 0), home); waits(err) != time.Second {
		t.Errorf("too early: %v", err)
	}
	b.metric(`gateway_logins_throttled_total{by="code"} 1`)
	b.metric(`gateway_logins_total{outcome="code_refused"} 4`)
	b.metric(`gateway_logins_total{outcome="throttled"} 1`)
	// From everywhere: ten, then slower, but never more than half a minute.
	i := 10
	for ; i < 100; i++ {
		if err := b.SecondFactor(t.Context(), ann.ID, "000000", address(i)); waits(err) > 0 {
			break
		}
	}
	if i > 20 {
		t.Errorf("%d codes from everywhere", i)
	}
	for range 20 {
		b.advance(30 * time.Second)
		_ = b.SecondFactor(t.Context(), ann.ID, "000000", address(i))
		i++
	}
	b.advance(30 * time.Second)
	b.wants("her own", b.SecondFactor(t.Context(), ann.ID, b.code(e, 0), netip.MustParseAddr("198.51.100.7")), nil)
}

func TestI11_PasswordsOfSessionsAreCounted(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("ann")
	for what, f := range map[string]func() error{
		"check":   func() error { return b.CheckPassword(t.Context(), ann.ID, "Wrong-Pass1!", home) },
		"change":  func() error { return b.ChangePassword(t.Context(), ann.ID, "Wrong-Pass1!", "Other-Pass1!") },
		"disable": func() error { return b.DisableMFA(t.Context(), ann.ID, "000000") },
		"confirm": func() error { _, err := b.Confirm(t.Context(), ann.ID, "000000"); return err },
	} {
		n := 0
		for ; n < 20 && waits(f()) == 0; n++ {
		}
		if n != 4 {
			t.Errorf("%s: %d attempts at once", what, n)
		}
	}
}

// recorder keeps the keys that a throttle sees.
type recorder struct {
	account.Throttle
	keys []string
}

func (r *recorder) Attempt(ctx context.Context, key string, limit account.Limit) (time.Duration, error) {
	r.keys = append(r.keys, key)
	if err := limit.Validate(); err != nil {
		return 0, err
	}
	return r.Throttle.Attempt(ctx, key, limit)
}

func TestI11_KeysNameNobody(t *testing.T) {
	t.Parallel()
	b := bench(t)
	r := &recorder{Throttle: account.NewMemoryThrottle(b.clock)}
	a := account.New(account.Options{Store: b.store, Throttle: r, Passwords: b.passwords, EncryptionKey: bytes.Repeat([]byte("k"), 32),
		Limits: account.Limits{PerAccount: account.Rate{Attempts: 2, Window: time.Minute}, PerIP: account.Rate{Attempts: 5, Window: time.Hour}},
		Clock:  b.clock, Log: zerolog.Nop()})
	ann := b.create("ann")
	for _, at := range []account.Attempt{{Email: ann.Email, From: home}, {Email: "x@y.z"}, {Email: ann.Email, Device: a.Device(ann.ID)}} {
		if _, err := a.Authenticate(t.Context(), at); !errors.Is(err, account.ErrCredentials) {
			t.Error(err)
		}
	}
	_ = a.SecondFactor(t.Context(), ann.ID, "123456", home)
	seen := map[string]bool{}
	for _, key := range r.keys {
		if !regexp.MustCompile(`^(network|pair|account|device|code)\.[A-Za-z0-9_-]{43}$`).MatchString(key) || seen[key] {
			t.Errorf("key %q", key)
		}
		seen[key] = true
	}
	if len(r.keys) != 9 {
		t.Errorf("%d keys: %q", len(r.keys), r.keys)
	}
}

// failing is a throttle that can't count.
type failing struct{ account.Throttle }

func (failing) Attempt(context.Context, string, account.Limit) (time.Duration, error) {
	return 0, errors.New("no counting today")
}

// forgetless can count, and not forget.
type forgetless struct{ account.Throttle }

func (forgetless) Clear(context.Context, string) error  { return errors.New("no forgetting today") }
func (forgetless) Refund(context.Context, string) error { return errors.New("no forgetting today") }

func TestI11_ThrottlesThatFail(t *testing.T) {
	t.Parallel()
	b := bench(t)
	ann := b.create("ann")
	with := func(s account.Throttle) error {
		a := account.New(account.Options{Store: b.store, Throttle: s, Passwords: b.passwords, Clock: b.clock, Log: zerolog.New(b.log)})
		_, err := a.Authenticate(t.Context(), account.Attempt{Email: ann.Email, Password: password, From: home})
		return err
	}
	b.wants("what can't be counted is not verified", with(failing{}), account.ErrUnavailable)
	b.wants("what can't be forgotten is no reason to refuse", with(forgetless{account.NewMemoryThrottle(b.clock)}), nil)
	if !strings.Contains(b.log.String(), "are not forgotten") {
		t.Errorf("the log tells %s", b.log)
	}
}

func TestI11_MemoryIsBounded(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Unix(0, 0))
	m := account.NewMemoryThrottle(c).Bounded(200)
	limit := account.Limit{Free: 5, Most: 5, Window: time.Hour}
	try := func(key string) time.Duration {
		after, err := m.Attempt(t.Context(), key, limit)
		if err != nil {
			t.Fatal(err)
		}
		return after
	}
	for range 5 {
		try("victim")
	}
	for i := range 20_000 { // a flood to push the count of guesses out
		try(fmt.Sprint("flood", i))
	}
	if m.Held() > 200 {
		t.Errorf("%d keys are held", m.Held())
	}
	if try("victim") == 0 {
		t.Error("a flood of new keys made it forget the one that was guessed at")
	}
	c.Advance(time.Hour)
	for i := range 1000 { // those whose window is over go first
		try(fmt.Sprint("late", i))
	}
	if m.Held() > 200 {
		t.Errorf("%d keys are held", m.Held())
	}
}

func TestI11_LimitsMakeSense(t *testing.T) {
	t.Parallel()
	for _, bad := range []account.Limit{
		{}, {Free: 1}, {Window: time.Hour}, {Free: -1, Most: 1, Window: time.Hour}, {Free: 1, Window: time.Hour},
		{Free: 1, Window: time.Hour, FirstDelay: time.Second, Ceiling: time.Millisecond},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v makes sense", bad)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(1, 1000)
		l := account.Limit{Free: rapid.IntRange(0, 9).Draw(t, "free"), Most: rapid.IntRange(0, 20).Draw(t, "most"),
			Window: time.Hour, FirstDelay: time.Duration(ms.Draw(t, "first")) * time.Millisecond}
		l.Ceiling = l.FirstDelay * time.Duration(ms.Draw(t, "ceiling"))
		left := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "left"))
		last := time.Duration(0)
		for count := 1; count < 100; count++ {
			d := l.Delay(count, left)
			if d < last || d > left || l.Most == 0 && d > l.Ceiling || l.Most > 0 && count >= l.Most && d != left {
				t.Fatalf("%+v: %s after %d, %s before, %s left", l, d, count, last, left)
			}
			last = d
		}
	})
}
