//go:build !race

package pipeline

import (
	"testing"

	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/router"
)

func TestAllocsOfChoosing0(t *testing.T) {
	pins := []Pin{pin(t, shares(1)[0].To, router.Asked{
		Headers: []router.Condition{{Name: "X-Team", Kind: router.Exact, Value: "blue"}},
		Cookies: []router.Condition{{Name: "session", Kind: router.Regex, Value: "^x"}},
	}, principal.Match{}), pin(t, shares(1)[0].To, router.Asked{}, principal.Match{Users: []string{"bob"}})}
	for _, a := range []Affinity{{}, {Kind: ByUser}, {Kind: ByIP}, {Kind: ByVisitor}, {Kind: ByHeader, Name: "X-Team"}, {Kind: ByCookie, Name: "session"}} {
		s, x := NewSplit(a, shares(95, 5), pins), whole()
		x.Route = &Route{Split: s}
		if n := testing.AllocsPerRun(200, func() {
			x.Destination, x.visitorState = nil, visitorUnknown
			x.Choose()
		}); n != 0 {
			t.Errorf("by %s: %v allocations", a, n)
		}
	}
}

func BenchmarkChoose(b *testing.B) {
	one := &Route{Destinations: []*Destination{shares(1)[0].To}}
	for _, c := range []struct {
		name  string
		route *Route
	}{
		{"one service", one},
		{"at random", &Route{Split: NewSplit(Affinity{}, shares(95, 5), nil)}},
		{"by user", &Route{Split: NewSplit(Affinity{Kind: ByUser}, shares(95, 5), nil)}},
		{"by ip", &Route{Split: NewSplit(Affinity{Kind: ByIP}, shares(95, 5), nil)}},
		{"by cookie", &Route{Split: NewSplit(Affinity{Kind: ByVisitor}, shares(95, 5), nil)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			x := whole()
			x.Route = c.route
			b.ReportAllocs()
			for b.Loop() {
				x.Destination, x.visitorState = nil, visitorUnknown
				x.Choose()
			}
		})
	}
}
