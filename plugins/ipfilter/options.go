package ipfilter

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/suuupra/gateway/core/clientip"
	"github.com/suuupra/gateway/core/setting"
)

// options are the options of ip_filter.
type options struct {
	Allow []setting.CIDR `yaml:"allow" doc:"Networks whose clients may come in; without the key, all may."`
	Deny  []setting.CIDR `yaml:"deny" doc:"Networks whose clients may not come in, even if allow lists them."`
}

// check reports what the types alone can't say. Entries that change nothing are
// warnings: lists are often made by programs.
func check(o options, r *setting.Report) {
	if len(o.Allow)+len(o.Deny) == 0 {
		r.AddField("deny", "want networks in allow or deny: without any the plugin does nothing", "")
		return
	}
	warnRepeated(r, "allow", o.Allow)
	warnRepeated(r, "deny", o.Deny)
	allow, deny := clientip.NewNetworks(setting.Prefixes(o.Allow)), clientip.NewNetworks(setting.Prefixes(o.Deny))
	for i, c := range o.Deny {
		if at := fmt.Sprintf("deny[%d]", i); c.Bits() == 0 {
			r.WarnField(at, c.String()+" denies every "+family(c)+" client, whatever allow says", "")
		} else if len(o.Allow) > 0 && !allow.Overlaps(c.Prefix) {
			r.WarnField(at, c.String()+" changes nothing: allow lists none of it, so it is denied anyway", "")
		}
	}
	for i, c := range o.Allow {
		if at := fmt.Sprintf("allow[%d]", i); deny.Covers(c.Prefix) {
			r.WarnField(at, c.String()+" changes nothing: deny lists all of it, and wins", "")
		} else if c.Bits() == 0 {
			r.WarnField(at, c.String()+" allows every "+family(c)+" client but those of deny; for both families, leave allow out", "")
		}
	}
}

func family(c setting.CIDR) string {
	if c.Addr().Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// warnRepeated reports what another entry of the list holds already. Networks nest
// or have nothing in common, so that in their order the last one that was met
// around an entry is the only one to look at.
func warnRepeated(r *setting.Report, field string, list []setting.CIDR) {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if c := list[a].Addr().Compare(list[b].Addr()); c != 0 {
			return c
		}
		if c := list[a].Bits() - list[b].Bits(); c != 0 {
			return c
		}
		return a - b
	})
	var around netip.Prefix
	for _, i := range order {
		c := list[i]
		switch at := fmt.Sprintf("%s[%d]", field, i); {
		case around == c.Prefix:
			r.WarnField(at, c.String()+" is listed twice", "")
		case around.IsValid() && around.Overlaps(c.Prefix):
			r.WarnField(at, c.String()+" changes nothing: "+around.String()+" holds all of it", "")
		default:
			around = c.Prefix
		}
	}
}
