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

func (g *gateway) again() {
	g.snap.Load() // want snapshot-load "and so does enter"
}

func (g *gateway) unrelated() { g.other.Load() }
