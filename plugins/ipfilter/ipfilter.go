// Package ipfilter is the plugin ip_filter: it lets clients in, or not, by their
// address (SPEC PL8).
//
// The address is the one that the gateway believes (SECURITY C10): the peer's, or
// what trusted proxies say of theirs. The lists are compiled with the route, so that
// a look costs about the same among ten networks and ten thousand.
package ipfilter

import (
	"github.com/suuupra/gateway/core/clientip"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/setting"
)

// Plugin is ip_filter.
var Plugin = plugin.Of("ip_filter", check, build)

// filter is the lists of one route. It is immutable.
type filter struct {
	deny, allow clientip.Networks
	some        bool // only those of allow may come in

	denied, unlisted *meter.Counter
}

func build(o options, d *plugin.Deps) (pipeline.Instance, error) {
	f := &filter{
		deny:  clientip.NewNetworks(setting.Prefixes(o.Deny)),
		allow: clientip.NewNetworks(setting.Prefixes(o.Allow)), some: len(o.Allow) > 0,
	}
	refused := func(reason string) *meter.Counter {
		return d.Meter.Counter("gateway_ip_filter_refused_total", "Requests that ip_filter refused, by why: deny lists the client, or allow does not.", meter.Label{Name: "reason", Value: reason})
	}
	f.denied, f.unlisted = refused("denied"), refused("not_allowed")
	var instance pipeline.Instance
	instance.Hooks[pipeline.Guard] = f.guard
	return instance, nil
}

// refusal does not say which address was looked at: behind proxies it may tell of
// the network here.
var refusal = fault.Forbidden.Detail("clients of this address are not allowed")

// guard is the Guard hook. Of a request that could not be read nothing is believed,
// so that there its peer is looked at.
func (f *filter) guard(x *pipeline.Exchange) pipeline.Verdict {
	client := x.Client
	if !client.IsValid() {
		client = x.Peer.Address.Addr()
	}
	switch {
	case f.deny.Contains(client):
		f.denied.Add(x.Stripe, 1)
	case f.some && !f.allow.Contains(client):
		f.unlisted.Add(x.Stripe, 1)
	default:
		return pipeline.Continue
	}
	return x.Fail(refusal)
}
