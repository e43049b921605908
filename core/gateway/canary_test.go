package gateway_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/pipeline"
)

// calling is an endpoint that answers with its name.
func calling(t *testing.T, name string) *gatewaytest.Origin {
	return gatewaytest.NewOrigin(t, func(string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
	})
}

// canary is two real services behind one gateway.
type canary struct {
	t *testing.T
	*gatewaytest.Gateway
	old, next *gatewaytest.Origin
	services  string
}

func newCanary(t *testing.T, routes string, o gatewaytest.Options) *canary {
	c := &canary{t: t, old: calling(t, "old"), next: calling(t, "next")}
	c.services = fmt.Sprintf("services: {old: {endpoints: [{url: %q}]}, next: {endpoints: [{url: %q}]}}\n", c.old.URL(), c.next.URL())
	c.Gateway = gatewaytest.RunOptions(t, c.services+routes, o)
	return c
}

// ask returns which service answered, and the whole answer.
func (c *canary) ask(target, fields string) (service, answer string) {
	c.t.Helper()
	answer = c.Do("GET " + target + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + fields + "\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		c.t.Fatalf("%s %s: %s", target, fields, answer)
	}
	return answer[strings.Index(answer, "\r\n\r\n")+4:], answer
}

func TestRT5_PinsByTheRequest(t *testing.T) {
	t.Parallel()
	c := newCanary(t, `
routes:
  pinned:
    match: {path: "/{rest...}"}
    service: old
    pin:
      - {headers: {X-Canary: "1"}, service: next}
      - {cookies: {beta: {regex: "^y"}}, query: {v: "2"}, service: next}
  dark: {match: {path: /dark}, split: {old: 1, next: 0}, pin: [{headers: {X-Canary: {present: true}}, service: next}]}
`, gatewaytest.Options{})
	for _, one := range []struct{ target, fields, want string }{
		{"/a", "", "old"},
		{"/a", "X-Canary: 1\r\n", "next"},
		{"/a", "X-Canary: 2\r\n", "old"},
		{"/a", "X-Canary: 1\r\nX-Canary: 1\r\n", "old"},
		{"/a?v=2", "Cookie: a=b; beta=yes\r\n", "next"},
		{"/a?v=%32", "Cookie: beta=yes\r\n", "next"},
		{"/a", "Cookie: beta=yes\r\n", "old"},
		{"/dark", "", "old"},
		{"/dark", "X-Canary: x\r\n", "next"},
	} {
		if got, _ := c.ask(one.target, one.fields); got != one.want {
			t.Errorf("%s %q: %s, want %s", one.target, one.fields, got, one.want)
		}
	}
	for _, want := range []string{
		`gateway_requests_total{method="GET",route="pinned",status_code="200",service="next"} 3`,
		`gateway_requests_total{method="GET",route="pinned",status_code="200",service="old"} 4`,
		`gateway_request_duration_seconds_count{method="GET",route="dark",status_code="200",service="next"} 1`,
	} {
		gatewaytest.Eventually(t, want, func() bool { return strings.Contains(c.Metrics(), want+"\n") })
	}
	// What the service gets is what the client sent: cookies are looked at, and left alone.
	for _, raw := range c.next.Requests() {
		if strings.Contains(raw, "/a?v=2") && !strings.Contains(raw, "\r\nCookie: a=b; beta=yes\r\n") {
			t.Errorf("the service got\n%s", raw)
		}
	}
}

// Of visitors each stays where it is, until a reload changes the weights; then those move
// that must.
func TestRT5_VisitorsStay(t *testing.T) {
	t.Parallel()
	routes := func(old, next int) string {
		return fmt.Sprintf("routes: {a: {match: {path: /a}, split: {old: %d, next: %d}, split_by: cookie}}\n", old, next)
	}
	c := newCanary(t, routes(1, 1), gatewaytest.Options{})
	at := map[string]string{} // where the visitor of a cookie goes
	for len(at) < 200 {
		service, answer := c.ask("/a", "")
		_, rest, found := strings.Cut(answer, "Set-Cookie: "+pipeline.VisitorCookie+"=")
		value, attributes, _ := strings.Cut(rest[:strings.Index(rest, "\r\n")], ";")
		if !found || attributes != " Path=/; HttpOnly; SameSite=Lax" {
			t.Fatalf("a visitor is not greeted: %s", answer)
		}
		at[value] = service
	}
	visit := func() (moved, next int) {
		for value, before := range at {
			service, answer := c.ask("/a", "Cookie: "+pipeline.VisitorCookie+"="+value+"\r\n")
			if strings.Contains(answer, "Set-Cookie") {
				t.Fatalf("who is known is greeted again: %s", answer)
			}
			if service != before {
				moved++
			}
			if service == "next" {
				next++
			}
		}
		return moved, next
	}
	moved, next := visit()
	if moved > 0 || next < 60 || next > 140 {
		t.Fatalf("%d of 200 moved, %d are at next", moved, next)
	}
	c.Reconfigure(c.services + routes(1, 3))
	if more, all := visit(); all-next != more || all < 115 || all > 185 {
		t.Errorf("from a half to three quarters %d moved, and %d became %d", more, next, all)
	}
	c.Reconfigure(c.services + routes(1, 0))
	if _, all := visit(); all != 0 {
		t.Errorf("%d are still at a service of weight 0", all)
	}
	c.Reconfigure(c.services + routes(1, 1))
	if moved, _ := visit(); moved > 0 {
		t.Errorf("%d did not come back", moved)
	}
}

func TestRT5_UsersStayAndArePinned(t *testing.T) {
	t.Parallel()
	id := gatewaytest.NewIdentity(t)
	c := newCanary(t, `
routes:
  a: {match: {path: /a}, split: {old: 1, next: 1}, split_by: user, plugins: {auth: {required: false}}}
  b: {match: {path: /b}, split: {next: 1, old: 1}, split_by: user, plugins: {auth: {}}}
  c: {match: {path: /c}, service: old, pin: [{user: [ann, bob], service: next}, {scope: "beta:read", service: next}], plugins: {auth: {required: false}}}
  d: {match: {path: /d}, split: {old: 1, next: 1}, plugins: {auth: {}}}
`, gatewaytest.Options{Identity: &id.Identity})
	as := func(user string, scopes ...string) string {
		return "Authorization: Bearer " + id.Token(user, scopes...) + "\r\n"
	}
	seen := map[string]int{}
	for i := range 40 {
		user := fmt.Sprintf("user-%d", i)
		first, _ := c.ask("/a", as(user))
		again, _ := c.ask("/a", as(user)) // another token
		other, _ := c.ask("/b", as(user))
		if first != again || first != other {
			t.Errorf("%s goes to %s, %s, and on another route to %s", user, first, again, other)
		}
		seen[first]++
	}
	if seen["old"] < 5 || seen["next"] < 5 {
		t.Errorf("users go to %v", seen)
	}
	nobody, _ := c.ask("/a", "")
	for range 5 {
		if again, _ := c.ask("/a", ""); again != nobody {
			t.Error("who is anonymous does not stay by its address")
		}
	}
	for fields, want := range map[string]string{as("ann"): "next", as("bob"): "next", as("carl"): "old", as("carl", "beta"): "next", "": "old"} {
		if got, _ := c.ask("/c", fields); got != want {
			t.Errorf("%.30q…: %s, want %s", fields, got, want)
		}
	}
	// Who is refused before anything was chosen is counted for no service.
	if got := c.Do("GET /d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 401 ") {
		t.Fatal(got)
	}
	want := `gateway_requests_total{method="GET",route="d",status_code="401",service="none"} 1`
	gatewaytest.Eventually(t, want, func() bool { return strings.Contains(c.Metrics(), want+"\n") })
}

// Each service of a split has the timeouts and retries that hold there.
func TestRT5_TimeoutsOfEachService(t *testing.T) {
	t.Parallel()
	mute := gatewaytest.NewRawOrigin(t, func(c *gatewaytest.OriginConn) {
		for {
			if _, err := c.ReadRequest(); err != nil { // and never answers
				return
			}
		}
	})
	g := gatewaytest.Run(t, fmt.Sprintf(`
services:
  old: {endpoints: [{url: %q}], timeouts: {total: 30s}}
  next: {endpoints: [{url: %q}], timeouts: {total: 50ms}, retry: off}
routes:
  a: {match: {path: /a}, split: {old: 1, next: 0}, pin: [{headers: {X: "1"}, service: next}]}
  b: {match: {path: /b}, split: {old: 0, next: 1}}
  c: {match: {path: /c}, split: {old: {weight: 1, timeouts: {response: 50ms}, retry: off}, next: 0}, timeouts: {response: 20s}}
`, mute.URL(), mute.URL()))
	for _, raw := range []string{"GET /a HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n", "GET /b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /c HTTP/1.1\r\nHost: h\r\n\r\n"} {
		if got := g.Do(raw); !strings.HasPrefix(got, "HTTP/1.1 504 ") {
			t.Errorf("%q: %s", raw, got)
		}
	}
	if n := len(mute.Requests()); n != 3 {
		t.Errorf("the services were asked %d times, want 3", n)
	}
}

// TestRT5_README runs the README's example.
func TestRT5_README(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Canary\n")
	_, yaml, shown := strings.Cut(section, "```yaml\n")
	yaml, _, _ = strings.Cut(yaml, "```")
	if !found || !shown {
		t.Fatal("the README shows no canary")
	}
	id := gatewaytest.NewIdentity(t)
	old, next, lab := calling(t, "old"), calling(t, "next"), calling(t, "lab")
	yaml = strings.NewReplacer("127.0.0.1:9002", old.Address(), "127.0.0.1:9012", next.Address(), "127.0.0.1:9022", lab.Address()).Replace(yaml)
	c := &canary{t: t, old: old, next: next, Gateway: gatewaytest.RunOptions(t, yaml, gatewaytest.Options{Identity: &id.Identity})}
	for fields, target := range map[string]string{
		"X-Canary: 1\r\n": "/content/a", "Cookie: beta=\r\n": "/content/a?v=2.1", "Authorization: Bearer " + id.Token("ann", "beta") + "\r\n": "/content/a",
	} {
		if got, _ := c.ask(target, fields); got != "next" {
			t.Errorf("%s with %.20q went to %s", target, fields, got)
		}
	}
	seen := map[string]int{}
	for i := range 200 {
		service, _ := c.ask("/content/a", "Authorization: Bearer "+id.Token(fmt.Sprint("user-", i))+"\r\n")
		seen[service]++
	}
	if seen["next"] < 1 || seen["next"] > 30 {
		t.Errorf("of 200 users %v", seen)
	}
	gatewaytest.Eventually(t, "a copy", func() bool { return len(lab.Requests()) > 0 })
}
