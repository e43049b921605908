package auth_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
	"github.com/suuupra/gateway/core/setting"
)

// TestI10_WhoGuessesIsNotLookedAt for a while, whatever it shows; others are, and so
// is who shows nothing.
func TestI10_WhoGuessesIsNotLookedAt(t *testing.T) {
	t.Parallel()
	w := newWorld()
	id := w.identity()
	id.Refused = setting.Rate{Count: 3, Per: time.Hour}
	origin := gatewaytest.NewOrigin(t, func(string) string { return gatewaytest.OK })
	g := gatewaytest.RunOptions(t, "trusted_proxies: [127.0.0.0/8]\n"+strings.ReplaceAll(routes, "ORIGIN", origin.URL()), gatewaytest.Options{Identity: id})
	from := func(client, target, fields string) string {
		return call(g, origin, target, "X-Forwarded-For: "+client+"\r\n"+fields)
	}
	const bad, limited = "Authorization: Bearer bad\r\n", "429 rate_limited"
	for _, c := range []struct{ first, neighbour, stranger string }{
		{"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:3::1"},
	} {
		// Neither what is out of date nor what was never looked at counts.
		for range 10 {
			for _, fields := range []string{"Authorization: Bearer expired\r\n", "X-API-Key: gk_inactive\r\n", "X-API-Key: gk_expired\r\n", "X-API-Key: gk_unavailable\r\n", "Authorization: Basic x\r\n", ""} {
				if got := from(c.first, "/plain/a", fields); got == limited {
					t.Fatalf("%s with %q is refused", c.first, fields)
				}
			}
		}
		for i, fields := range []string{bad, "X-API-Key: gk_unknown\r\n", bad} {
			if got := from(c.first, "/optional/a", fields); !strings.HasPrefix(got, "401 ") {
				t.Fatalf("%s, guess %d: %s", c.first, i, got)
			}
		}
		looks := w.looks.Load()
		for _, client := range []string{c.first, c.neighbour} {
			for _, fields := range []string{bad, authorizeAnn, keyOfClient} {
				if got := from(client, "/plain/a", fields); got != limited {
					t.Errorf("%s with %q: %s", client, fields, got)
				}
			}
			if got := from(client, "/ticket/a?ticket=t-ann", ""); got != limited {
				t.Errorf("%s with a ticket: %s", client, got)
			}
			if got := from(client, "/optional/a", ""); !strings.HasPrefix(got, "200 ") {
				t.Errorf("%s shows nothing: %s", client, got)
			}
			if got := from(client, "/open/a", bad); !strings.HasPrefix(got, "200 ") {
				t.Errorf("%s on an open route: %s", client, got)
			}
		}
		if w.looks.Load() != looks {
			t.Errorf("%s: %d credentials were looked at all the same", c.first, w.looks.Load()-looks)
		}
		if got := from(c.stranger, "/plain/a", authorizeAnn); !strings.HasPrefix(got, "200 ") {
			t.Errorf("%s: %s", c.stranger, got)
		}
	}
	answer := g.Do("GET /plain/a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\n" + bad + "\r\n")
	_, after, _ := strings.Cut(answer, "\r\nRetry-After: ")
	after, _, _ = strings.Cut(after, "\r\n")
	// A third of an hour, less what this test has taken.
	if seconds, err := strconv.Atoi(after); err != nil || seconds > 1200 || seconds < 600 {
		t.Errorf("want to hear of a third of an hour, got\n%s", answer)
	}
	g.Reconfigure("trusted_proxies: [127.0.0.0/8]\n" + strings.ReplaceAll(routes, "ORIGIN", origin.URL()))
	if got := from("192.0.2.1", "/plain/a", authorizeAnn); got != limited {
		t.Errorf("a reload forgot who guesses: %s", got)
	}
	metrics := g.Metrics()
	for _, line := range []string{`outcome="rate_limited"} 18`, `outcome="token_expired"} 20`, `outcome="anonymous"} 4`, `outcome="token"} 2`} {
		if !strings.Contains(metrics, "gateway_auth_total{"+line+"\n") {
			t.Errorf("want %s in\n%s", line, grep(metrics, "gateway_auth_total{"))
		}
	}
}

func grep(text, what string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.Contains(line, what) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// Every outcome is a series from the start, so that rates are right from the first.
func TestOutcomesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld()
	g, o := w.gateway(t, routes)
	for i := range 40 {
		call(g, o, fmt.Sprintf("/plain/%d", i), fmt.Sprintf("Authorization: Bearer guess-%d\r\n", i))
	}
	if got := strings.Count(g.Metrics(), "\ngateway_auth_total{"); got != 17 {
		t.Errorf("%d series, want 17:\n%s", got, grep(g.Metrics(), "gateway_auth_total"))
	}
}
