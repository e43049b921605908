package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// TestUP1_CallersStayAtTheirEndpoint: each caller has one endpoint, callers are spread over
// all, and one that goes takes no other callers along.
func TestUP1_CallersStayAtTheirEndpoint(t *testing.T) {
	t.Parallel()
	id := gatewaytest.NewIdentity(t)
	var urls []string
	for i := range 4 {
		urls = append(urls, fmt.Sprintf("{url: %q}", calling(t, fmt.Sprint(i)).URL()))
	}
	config := func(by string, urls []string) string {
		return fmt.Sprintf("services: {a: {endpoints: [%s], balance: {consistent_hash: {by: %s}}}}\n"+
			"routes: {a: {match: {path: /a}, service: a, plugins: {auth: {required: false}}}}\n", strings.Join(urls, ", "), by)
	}
	for _, c := range []struct {
		by     string
		fields func(caller string) string
	}{
		{"user", func(caller string) string { return "Authorization: Bearer " + id.Token(caller) + "\r\n" }},
		{"{header: X-Team}", func(caller string) string { return "X-Team: " + caller + "\r\n" }},
		{"{cookie: session}", func(caller string) string { return "Cookie: a=b; session=" + caller + "\r\n" }},
	} {
		t.Run(c.by, func(t *testing.T) {
			t.Parallel()
			a := &canary{t: t, Gateway: gatewaytest.RunOptions(t, config(c.by, urls), gatewaytest.Options{Identity: &id.Identity})}
			at, counts := map[string]string{}, map[string]int{}
			for i := range 80 {
				caller := fmt.Sprint("caller-", i)
				at[caller], _ = a.ask("/a", c.fields(caller))
				counts[at[caller]]++
				if again, _ := a.ask("/a", c.fields(caller)); again != at[caller] {
					t.Fatalf("%s goes to %s and to %s", caller, at[caller], again)
				}
			}
			if len(counts) != 4 {
				t.Errorf("80 callers go to %v", counts)
			}
			a.Reconfigure(config(c.by, urls[:3]))
			for caller, before := range at {
				if now, _ := a.ask("/a", c.fields(caller)); before != "3" && now != before {
					t.Errorf("when 3 went, %s moved from %s to %s", caller, before, now)
				}
			}
			first, _ := a.ask("/a", "")
			for range 5 {
				if again, _ := a.ask("/a", ""); again != first {
					t.Errorf("who has nothing to be told by goes to %s and to %s", first, again)
				}
			}
		})
	}
}

// A visitor who is told by the gateway's own cookie gets it, and stays with it.
func TestUP1_VisitorsStayAtTheirEndpoint(t *testing.T) {
	t.Parallel()
	var urls []string
	for i := range 4 {
		urls = append(urls, fmt.Sprintf("{url: %q}", calling(t, fmt.Sprint(i)).URL()))
	}
	a := &canary{t: t, Gateway: gatewaytest.Run(t, fmt.Sprintf(
		"services: {a: {endpoints: [%s], balance: {consistent_hash: {by: cookie}}}}\nroutes: {a: {match: {path: /a}, service: a}}\n", strings.Join(urls, ", ")))}
	counts := map[string]int{}
	for range 40 {
		service, answer := a.ask("/a", "")
		_, rest, found := strings.Cut(answer, "Set-Cookie: ")
		cookie, _, _ := strings.Cut(rest, ";")
		if !found {
			t.Fatalf("a visitor is not greeted: %s", answer)
		}
		counts[service]++
		if again, answer := a.ask("/a", "Cookie: "+cookie+"\r\n"); again != service || strings.Contains(answer, "Set-Cookie") {
			t.Errorf("%s went to %s, and then to %s", cookie, service, answer)
		}
	}
	if len(counts) < 3 {
		t.Errorf("40 visitors go to %v", counts)
	}
}
