package pipeline

import (
	"bufio"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/upstream"
)

// shares are destinations with those weights, named by letters.
func shares(weights ...int) []Share {
	var out []Share
	for i, w := range weights {
		out = append(out, Share{To: &Destination{Service: &upstream.Service{Name: string(rune('a' + i))}}, Weight: w})
	}
	return out
}

// callers are exchanges of different users.
func callers(n int) []*Exchange {
	out := make([]*Exchange, n)
	for i := range out {
		out[i] = &Exchange{Request: &fasthttp.Request{}, Principal: &principal.Principal{User: fmt.Sprintf("user-%d", i)}}
	}
	return out
}

// goTo counts where callers go, and says where each one goes.
func goTo(s *Split, xs []*Exchange) (counts map[string]int, each []string) {
	counts = map[string]int{}
	for _, x := range xs {
		to := s.choose(x).Service.Name
		counts[to]++
		each = append(each, to)
	}
	return counts, each
}

// off is by how many standard deviations got of n differs from its share.
func off(got, n int, share float64) float64 {
	return math.Abs(float64(got)-share*float64(n)) / math.Sqrt(float64(n)*share*(1-share)+1)
}

// Shares come out as their weights say, whatever ties requests together.
func TestSharesAreExact(t *testing.T) {
	t.Parallel()
	xs := callers(50_000)
	for _, by := range []AffinityKind{ByNothing, ByUser} {
		for _, weights := range [][]int{{95, 5}, {9999, 1}, {1, 1, 1}, {50, 30, 15, 5}, {0, 7, 3}} {
			s := NewSplit(Affinity{Kind: by}, shares(weights...), nil)
			counts, _ := goTo(s, xs)
			total := 0
			for _, w := range weights {
				total += w
			}
			for i, w := range weights {
				got := counts[string(rune('a'+i))]
				if w == 0 && got != 0 || w > 0 && off(got, len(xs), float64(w)/float64(total)) > 5 {
					t.Errorf("by %v, weights %v: %v", by, weights, counts)
				}
			}
		}
	}
}

// TestAWeightMovesOnlyItsShare: of the callers, as many move as the shares differ by, and all
// of them from or to the destination whose weight changed.
func TestAWeightMovesOnlyItsShare(t *testing.T) {
	t.Parallel()
	xs := callers(4000)
	rapid.Check(t, func(rt *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(0, 100), 2, 6).Draw(rt, "weights")
		weights[0]++ // not all 0
		at := rapid.IntRange(1, len(weights)-1).Draw(rt, "at")
		changed := append([]int(nil), weights...)
		changed[at] = rapid.IntRange(0, 100).Draw(rt, "new")
		_, before := goTo(NewSplit(Affinity{Kind: ByUser}, shares(weights...), nil), xs)
		_, after := goTo(NewSplit(Affinity{Kind: ByUser}, shares(changed...), nil), xs)
		moved, name := 0, string(rune('a'+at))
		for i := range before {
			if before[i] == after[i] {
				continue
			}
			moved++
			if grew := changed[at] > weights[at]; grew && after[i] != name || !grew && before[i] != name {
				rt.Fatalf("%v → %v: a caller moved from %s to %s", weights, changed, before[i], after[i])
			}
		}
		share := func(of []int) float64 {
			sum := 0
			for _, w := range of {
				sum += w
			}
			return float64(of[at]) / float64(sum)
		}
		if must := math.Abs(share(weights) - share(changed)); off(moved, len(xs), must) > 6 {
			rt.Fatalf("%v → %v: %d of %d moved, want %.0f", weights, changed, moved, len(xs), must*float64(len(xs)))
		}
	})
}

// The order of the services changes nothing, and neither does the unit of the weights.
func TestOnlyNamesAndRatiosMatter(t *testing.T) {
	t.Parallel()
	xs := callers(2000)
	one, other := shares(3, 2, 1), shares(300, 200, 100)
	other[0], other[2] = other[2], other[0]
	_, a := goTo(NewSplit(Affinity{Kind: ByUser}, one, nil), xs)
	_, b := goTo(NewSplit(Affinity{Kind: ByUser}, other, nil), xs)
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("caller %d goes to %s and to %s", i, a[i], b[i])
		}
	}
}

// TestHashesStay: another release, or another instance, must not send anybody elsewhere.
func TestHashesStay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		by   Affinity
		want uint64
	}{
		{Affinity{Kind: ByUser}, 0x97d4b132d4e85f4e},
		{Affinity{Kind: ByIP}, 0x44de3533d8196aab},
		{Affinity{Kind: ByVisitor}, 0x128ff6ef6d902901},
		{Affinity{Kind: ByHeader, Name: "X-Team"}, 0x29d2737de0178333},
		{Affinity{Kind: ByCookie, Name: "session"}, 0x921d290ed23ac3b7},
		{Affinity{}, 0},
	} {
		if got := c.by.Hash(whole()); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.by, got, c.want)
		}
	}
	s := NewSplit(Affinity{Kind: ByUser}, shares(70, 20, 10), nil)
	_, each := goTo(s, callers(40))
	if got := strings.Join(each, ""); got != "bababaaaaaacaaaaacbaaacbaabaaabbabbaaaca" {
		t.Errorf("users go to %s", got)
	}
}

// whole is an exchange with everything that may tie it to others.
func whole() *Exchange {
	x := &Exchange{Request: &fasthttp.Request{}, Response: &fasthttp.Response{}, Principal: &principal.Principal{User: "ann", Client: "app"}, Client: netip.MustParseAddr("2001:db8:1:2:3:4:5:6")}
	raw := "GET / HTTP/1.1\r\nHost: h\r\nX-Team: red\r\nCookie: a=b; session=s1; " + VisitorCookie + "=0123456789abcdef\r\n\r\n"
	if err := x.Request.Header.Read(bufio.NewReader(strings.NewReader(raw))); err != nil {
		panic(err)
	}
	return x
}

func TestWhatIsMissingIsTheAddress(t *testing.T) {
	t.Parallel()
	from := func(ip string, change ...func(*Exchange)) *Exchange {
		x := &Exchange{Request: &fasthttp.Request{}, Client: netip.MustParseAddr(ip)}
		for _, c := range change {
			c(x)
		}
		return x
	}
	ip := Affinity{Kind: ByIP}
	want := ip.Hash(from("192.0.2.1"))
	for _, a := range []Affinity{{Kind: ByUser}, {Kind: ByHeader, Name: "X-Team"}, {Kind: ByCookie, Name: "session"}} {
		if got := a.Hash(from("192.0.2.1")); got != want {
			t.Errorf("%s: %#x, want that of the address, %#x", a, got, want)
		}
	}
	if ip.Hash(from("2001:db8::1")) != ip.Hash(from("2001:db8::2")) || ip.Hash(from("2001:db8:0:1::1")) == ip.Hash(from("2001:db8::1")) || ip.Hash(from("::ffff:192.0.2.1")) != want {
		t.Error("an IPv6 caller is not its /64, or a mapped address not its own")
	}
	user := Affinity{Kind: ByUser}
	as := func(p principal.Principal) uint64 {
		return user.Hash(from("192.0.2.1", func(x *Exchange) { x.Principal = &p }))
	}
	if as(principal.Principal{Client: "app"}) == want || as(principal.Principal{Client: "app"}) == as(principal.Principal{User: "app"}) || as(principal.Principal{User: "ann", Client: "a"}) != as(principal.Principal{User: "ann", Client: "b"}) {
		t.Error("a client that acts for itself is not one caller")
	}
}

// greet is the Set-Cookie of the answer to a request with that Cookie field.
func greet(cookie, scheme string, by AffinityKind) (field string, x *Exchange) {
	x = whole()
	x.Scheme = scheme
	x.Request.Header.Del("Cookie")
	if cookie != "" {
		x.Request.Header.Set("Cookie", cookie)
	}
	NewSplit(Affinity{Kind: by}, shares(1, 1), nil).choose(x)
	x.GreetVisitor()
	return string(x.Response.Header.Peek("Set-Cookie")), x
}

func TestVisitorCookie(t *testing.T) {
	t.Parallel()
	by := Affinity{Kind: ByVisitor}
	for _, shown := range []string{"", "a=b", VisitorCookie + "=", VisitorCookie + "=0123456789ABCDEF", VisitorCookie + "=0123456789abcdef0", VisitorCookie + "=" + strings.Repeat("x", 5000)} {
		got, x := greet(shown, "https", ByVisitor)
		value, rest, _ := strings.Cut(strings.TrimPrefix(got, VisitorCookie+"="), ";")
		if !isVisitor([]byte(value)) || rest != " Path=/; HttpOnly; SameSite=Lax; Secure" {
			t.Errorf("who showed %.40q got %q", shown, got)
		}
		_, again := greet(VisitorCookie+"="+value, "https", ByVisitor)
		if by.Hash(x) != by.Hash(again) {
			t.Error("who comes back with the cookie is somebody else")
		}
	}
	if got, _ := greet("", "http", ByVisitor); !strings.HasSuffix(got, "; Path=/; HttpOnly; SameSite=Lax") {
		t.Errorf("over plain HTTP: %q", got)
	}
	if got, _ := greet(VisitorCookie+"=0123456789abcdef", "https", ByVisitor); got != "" {
		t.Errorf("who is known got %q", got)
	}
	if got, _ := greet("", "https", ByIP); got != "" {
		t.Errorf("who is told by the address got %q", got)
	}
	a, _ := greet("", "https", ByVisitor)
	if b, _ := greet("", "https", ByVisitor); a == b {
		t.Error("two visitors got one cookie")
	}
}

func pin(t testing.TB, to *Destination, a router.Asked, m principal.Match) Pin {
	t.Helper()
	asked, bad := router.NewConditions(a)
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	return Pin{To: to, Request: asked, Caller: m}
}

func TestPins(t *testing.T) {
	t.Parallel()
	all := shares(1, 0)
	c := &Destination{Service: &upstream.Service{Name: "c"}}
	s := NewSplit(Affinity{}, all[:1], []Pin{
		pin(t, all[1].To, router.Asked{Headers: []router.Condition{{Name: "X-Canary", Kind: router.Exact, Value: "1"}}}, principal.Match{}),
		pin(t, c, router.Asked{Cookies: []router.Condition{{Name: "beta", Kind: router.Present}}}, principal.Match{Users: []string{"ann"}}),
		pin(t, all[1].To, router.Asked{}, principal.Match{Clients: []string{"app"}}),
	})
	for _, one := range []struct {
		what, header, cookie string
		p                    *principal.Principal
		want                 string
	}{
		{"nobody", "", "", nil, "a"},
		{"by field", "1", "", nil, "b"},
		{"another value", "2", "", nil, "a"},
		{"half of it", "", "beta=1", nil, "a"},
		{"the other half", "", "", &principal.Principal{User: "ann"}, "a"},
		{"both", "", "beta=1", &principal.Principal{User: "ann"}, "c"},
		{"the first that holds", "1", "beta=1", &principal.Principal{User: "ann"}, "b"},
		{"by client", "", "", &principal.Principal{Client: "app"}, "b"},
	} {
		x := &Exchange{Request: &fasthttp.Request{}, Principal: one.p, Route: &Route{Split: s}}
		if one.header != "" {
			x.Request.Header.Set("X-Canary", one.header)
		}
		if one.cookie != "" {
			x.Request.Header.Set("Cookie", one.cookie)
		}
		if got := x.Choose().Service.Name; got != one.want {
			t.Errorf("%s goes to %s, want %s", one.what, got, one.want)
		}
		x.Principal = &principal.Principal{Client: "app"}
		x.Request.Header.Set("X-Canary", "1")
		if got := x.Choose().Service.Name; got != one.want {
			t.Errorf("%s went to %s, and then to %s", one.what, one.want, got)
		}
	}
	if got := s.Pins[1].String(); got != "c if cookie beta is present and user ann" {
		t.Errorf("a pin says %q", got)
	}
	if got := s.String(); got != "service a" {
		t.Errorf("it says %q", got)
	}
	if got := NewSplit(Affinity{Kind: ByCookie, Name: "n"}, shares(995, 5), nil).String(); got != "split a 99.5%, b 0.5%, sticky by cookie n" {
		t.Errorf("it says %q", got)
	}
}
