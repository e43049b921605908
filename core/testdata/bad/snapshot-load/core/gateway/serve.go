// Package gateway loads twice.
package gateway

func (g *gateway) enter() {
	for {
		s := g.snap.Load()
		if g.snap.Load() == s {
			return
		}
	}
}

// Current is for the views of operators.
func (g *gateway) Current() { g.snap.Load() }

// Shutdown is no request.
func (g *gateway) release() { g.Current() }

func (g *gateway) again() {
	g.snap.Load() // want snapshot-load "only enter does"
	g.Current()   // want snapshot-load "not for requests"
}

func (g *gateway) unrelated() { g.other.Load() }
