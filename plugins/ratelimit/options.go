package ratelimit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/setting"
)

// options are the options of rate_limit.
type options struct {
	Levels []*levelOptions `yaml:"levels,named" doc:"What is counted, by name: a name that is one of user, client, api_key, ip, route, service and global says it all, any other needs by."`
	Cost   int64           `yaml:"cost" default:"1" min:"1" max:"1000000" doc:"What one request counts for."`
}

// levelOptions is one counter of every request.
type levelOptions struct {
	Name      string           `yaml:"@key"`
	Node      *setting.Node    `yaml:"@node"`
	By        string           `yaml:"by" doc:"Whose requests are counted together: user, client, api_key, ip, route, service, global, or a text such as {host.tenant}."`
	Policy    string           `yaml:"policy" doc:"Name of the policy; a user, client or api_key that carries one of its own is counted by that."`
	Callers   string           `yaml:"callers" default:"all" enum:"all|anonymous|authenticated" doc:"Whose requests concern the level."`
	Otherwise string           `yaml:"otherwise" default:"ip" enum:"ip|route|service|global" doc:"What is counted by where by says nothing, as of a caller without a user."`
	Upgrade   []upgradeOptions `yaml:"upgrade" doc:"Callers with another policy, or none that denies; the first that fits counts."`
	Scope     string           `yaml:"scope" enum:"route" doc:"route: the route has a counter of its own, and shares none with routes that name the same policy."`
}

// upgradeOptions are a condition on the caller, and what it changes.
type upgradeOptions struct {
	Scope  string                        `yaml:"scope" doc:"A scope that the caller holds."`
	Claim  map[string]setting.StringList `yaml:"claim" doc:"What the caller's token says: JSON pointers into its claims, each with the values that will do."`
	Client string                        `yaml:"client" doc:"The client's id."`
	Policy string                        `yaml:"policy" doc:"The policy that counts instead."`
	Bypass bool                          `yaml:"bypass" default:"false" doc:"true: requests are counted, and never denied."`
}

// mostLevels bounds what one request costs the store.
const mostLevels = 8

// kind is what requests are counted by.
type kind uint8

// The kinds, from the narrowest: that is the order in which levels are asked.
const (
	byUser kind = iota
	byClient
	byKey
	byTemplate
	byIP
	byRoute
	byService
	byGlobal
	kinds
)

// words are the kinds as configurations and keys name them; a template has none.
var words = [kinds]string{byUser: "user", byClient: "client", byKey: "api_key", byIP: "ip", byRoute: "route", byService: "service", byGlobal: "global"}

func (k kind) String() string { return words[k] }

// ofPrincipal says that k is part of who calls.
func (k kind) ofPrincipal() bool { return k <= byKey }

// kindOf returns the kind of that word, and byTemplate for none.
func kindOf(word string) kind {
	if i := slices.Index(words[:], word); i >= 0 && word != "" {
		return kind(i)
	}
	return byTemplate
}

// known are the words that by may be.
func known() []string {
	return slices.DeleteFunc(slices.Clone(words[:]), func(w string) bool { return w == "" })
}

// by is what the level counts by, as a word or a template.
func (o *levelOptions) by() string {
	if o.By == "" {
		return o.Name
	}
	return o.By
}

// check reports what the types alone can't say.
func check(o options, around plugin.Around, r *setting.Report) {
	switch {
	case len(o.Levels) == 0:
		r.AddField("levels", "want at least one level, such as ip: {policy: NAME}: without any nothing is counted", "")
	case len(o.Levels) > mostLevels:
		r.AddField("levels", fmt.Sprintf("want %d levels at most, got %d", mostLevels, len(o.Levels)), "")
	}
	for _, l := range o.Levels {
		if l.Node.Kind == setting.Map {
			c := checker{options: &o, around: around, r: r.In(l.Node), root: r}
			c.level(l)
		}
	}
}

// checker looks at one level.
type checker struct {
	options *options
	around  plugin.Around
	r       *setting.Report // of the level
	root    *setting.Report // of all options
}

func (c *checker) level(l *levelOptions) {
	if by := l.Node.Get("by"); by == nil || !by.Unset {
		c.by(l)
	}
	if missing(l.Node, "policy") {
		c.r.AddField("policy", "want the name of a policy", "")
	}
	c.policy("policy", l.Policy)
	for i := range l.Upgrade {
		c.upgrade(fmt.Sprintf("upgrade[%d]", i), &l.Upgrade[i])
	}
}

// by wants what a level counts by to exist, and to be there at all for its callers.
func (c *checker) by(l *levelOptions) {
	k := kindOf(l.by())
	switch named := kindOf(l.Name); {
	case l.By == "" && named == byTemplate:
		near := setting.Nearest(l.Name, known())
		c.r.AddField("by", "want what the level counts by: "+setting.OneOf(known())+", or a text such as \"{host.tenant}\"", near)
		return
	case named != byTemplate && named != k:
		c.r.AddField("by", "a level of this name counts by "+named.String()+": give it another name, or leave by out", "")
		return
	}
	if k == byTemplate && !c.template(l) {
		return
	}
	if k.ofPrincipal() && l.Callers == "anonymous" {
		c.r.AddField("callers", "an anonymous caller has no "+strings.ReplaceAll(k.String(), "_", " ")+": count by ip", "authenticated")
	}
	if l.Callers == "anonymous" && len(l.Upgrade) > 0 {
		c.r.AddField("upgrade", "nobody who is anonymous can be upgraded", "")
	}
	if otherwise := l.Node.Get("otherwise"); otherwise != nil && k > byTemplate {
		c.r.WarnField("otherwise", "it changes nothing: every request has its "+k.String(), "")
	}
}

func (c *checker) template(l *levelOptions) bool {
	if !strings.ContainsAny(l.By, "{}") {
		c.r.AddField("by", fmt.Sprintf("want %s, or a text such as \"{host.tenant}\", got %q", setting.OneOf(known()), l.By), setting.Nearest(l.By, known()))
		return false
	}
	t, err := pipeline.ParseTemplate(l.By)
	if err != nil {
		text, near := err.Error(), ""
		if e, ok := err.(*setting.ValueError); ok {
			text, near = "want "+e.Want, e.Suggest
		}
		c.r.AddField("by", fmt.Sprintf("%s, got %q", text, l.By), near)
		return false
	}
	if t.NeedsPrincipal() && l.Callers == "anonymous" {
		c.r.AddField("callers", "of an anonymous caller there is no principal", "authenticated")
	}
	return true
}

// policy wants the name of a policy that can bear the cost of a request.
func (c *checker) policy(field, name string) {
	if name == "" || c.around.Policies == nil {
		return // missing, unknown or off
	}
	p, found := c.around.Policies[name]
	switch {
	case !found:
		names := slices.Sorted(maps.Keys(c.around.Policies))
		near, text := setting.Nearest(name, names), fmt.Sprintf("want the name of one of the policies, got %q", name)
		if near == "" && len(names) > 0 {
			text += "; known: " + strings.Join(names, ", ")
		}
		c.r.AddField(field, text, near)
	case p != nil && c.options.Cost > p.Capacity():
		// The cost stands where the options begin, whoever wrote it.
		c.root.AddField("cost", fmt.Sprintf("want at most %d, which is all that policy %s ever admits at once: no request would pass", p.Capacity(), name), "")
	}
}

// upgrade wants one condition or several, and one thing that changes.
func (c *checker) upgrade(at string, u *upgradeOptions) {
	n, _ := c.r.Node().Find(at)
	if n == nil || n.Kind != setting.Map {
		return
	}
	if missing(n, "scope") && missing(n, "claim") && missing(n, "client") {
		c.r.AddField(at, "want whom it concerns: scope, claim or client", "")
	}
	if u.Scope != "" {
		if err := principal.CheckScope(u.Scope); err != nil {
			c.r.AddField(at+".scope", "want a scope such as premium or courses:read: "+err.Error(), "")
		}
	}
	for _, pointer := range slices.Sorted(maps.Keys(u.Claim)) {
		if _, err := principal.ParseClaim(pointer, nil); err != nil {
			c.r.AddField(at+".claim", fmt.Sprintf("want JSON pointers such as /plan, got %q: %s", pointer, err), "")
		}
		if len(u.Claim[pointer]) == 0 {
			c.r.AddField(at+".claim", "want values that will do for "+pointer, "")
		}
	}
	switch policy := !missing(n, "policy"); {
	case policy && u.Bypass:
		c.r.AddField(at, "want a policy, or bypass: true, got both", "")
	case !policy && !u.Bypass && (n.Get("bypass") == nil || !n.Get("bypass").Unset):
		c.r.AddField(at, "want what changes: a policy, or bypass: true", "")
	}
	c.policy(at+".policy", u.Policy)
}

// missing says that a key is absent; one whose value is unknown is not.
func missing(n *setting.Node, key string) bool {
	v := n.Get(key)
	return v == nil || v.IsOff()
}

// describe says of a policy what `gateway explain` shows.
func describe(name string, p *limit.Policy) string {
	if p == nil {
		return name
	}
	text := fmt.Sprintf("%s (%s %s", name, p.Algorithm, setting.Rate{Count: p.Count, Per: p.Per})
	if p.Algorithm == limit.TokenBucket {
		text += fmt.Sprintf(", burst %d", p.Burst)
	}
	return text + ")"
}
