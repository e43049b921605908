package gateway

func check(g *gateway) { g.snap.Load() }
