// Package admin looks behind the gateway's back.
package admin

func (a *admin) show() {
	a.gateway.snap.Load() // want snapshot-load "only core/gateway does"
}
