package config

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/suuupra/gateway/core/setting"
)

// checker looks for what the types alone can't say. Each check passes over
// values that are unknown, or that the decoder has refused already.
type checker struct {
	cfg      *Config
	o        *LoadOptions
	r        *setting.Report
	services []string // names that routes may use
	used     map[string]bool
	checked  map[*setting.Node]bool // options of plugins
}

func check(cfg *Config, o *LoadOptions, r *setting.Report) {
	c := checker{cfg: cfg, o: o, r: r, services: keys(cfg.tree.Get("services")), used: make(map[string]bool), checked: make(map[*setting.Node]bool)}
	c.listeners()
	c.admin()
	c.whole()
	c.stores()
	c.limiter()
	c.identity()
	c.discovery()
	for _, s := range cfg.Services {
		c.service(s)
	}
	c.plugins(cfg.Defaults.Plugins, cfg.tree.Get("defaults").Get("plugins"))
	c.routes()
	c.anybody()
	c.unused()
}

// given returns the value of a key, or nil if it is absent, switched off or unknown.
func given(n *setting.Node, key string) *setting.Node {
	v := n.Get(key)
	if v == nil || v.Unset || v.IsOff() {
		return nil
	}
	return v
}

// missing says that a key is absent; one whose value is unknown is not.
func missing(n *setting.Node, key string) bool {
	v := n.Get(key)
	return v == nil || v.IsOff()
}

// address is a host and port as written.
type address struct {
	host string
	port uint16
}

// parseAddress reads host:port, where the host may be empty.
func parseAddress(s string) (address, bool) {
	host, port, err := net.SplitHostPort(s)
	if err != nil || !isPort(port) {
		return address{}, false
	}
	if ip, err := netip.ParseAddr(host); ip.Zone() != "" || err != nil && (strings.Contains(host, ":") || host != "" && !isHostName(host)) {
		return address{}, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return address{host: strings.ToLower(host), port: uint16(n)}, err == nil
}

// isPort says that s is a decimal number without leading zeros; its range is
// checked where it is read.
func isPort(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s == "0" || s != "" && s[0] != '0'
}

// isHostName says that s is a DNS name by RFC 1123, underscores allowed, without
// a final dot.
func isHostName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	// A name of digits alone would be a malformed IPv4 address.
	last := s[strings.LastIndexByte(s, '.')+1:]
	return len(s) <= 253 && strings.Trim(last, "0123456789") != ""
}

// loopback says that an address is reached from this machine only.
func (a address) loopback() bool {
	if ip, err := netip.ParseAddr(a.host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return a.host == "localhost" || strings.HasSuffix(a.host, ".localhost")
}

// anywhere says that a listens on, or stands for, every address of this machine.
func (a address) anywhere() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.host == "" || err == nil && ip.IsUnspecified()
}

// meets says that a connection to b may reach what listens on a. Port 0 is taken
// from the free ones, and meets nothing.
func (a address) meets(b address) bool {
	if a.port != b.port || a.port == 0 {
		return false
	}
	local := func(x address) bool { return x.loopback() || x.anywhere() }
	return a.host == b.host || a.anywhere() || b.anywhere() || local(a) && local(b)
}

const wantAddress = "want an address such as :8080 or 127.0.0.1:8080, got "

func (c *checker) listeners() {
	if listen := c.cfg.tree.Get("listen"); listen.Kind == setting.Map && len(c.cfg.Listeners) == 0 {
		c.r.AddNode(listen, "want at least one listener", "")
	}
	seen := make(map[address]*Listener)
	for _, l := range c.cfg.Listeners {
		if missing(l.Node, "address") && l.Node.Kind == setting.Map {
			c.r.Add(l.At, l.Node.Path, wantAddress+"no address", "")
		}
		n := given(l.Node, "address")
		if n == nil || l.Address == "" {
			continue
		}
		a, ok := parseAddress(l.Address)
		if !ok {
			c.r.AddNode(n, wantAddress+n.Describe(), suggestAddress(n))
			continue
		}
		if other := seen[a]; other != nil && a.port != 0 {
			c.r.AddNode(n, "listener "+other.Name+" has the same address", "")
		}
		seen[a] = l
	}
	for _, l := range c.cfg.Listeners {
		if l.Node.Kind == setting.Map {
			c.secure(l)
			c.redirectFrom(l, seen)
			c.proxyProtocol(l)
		}
	}
}

// suggestAddress completes a port that was written alone.
func suggestAddress(n *setting.Node) string {
	if s := ":" + n.Text; !n.Expanded {
		if _, ok := parseAddress(s); ok {
			return s
		}
	}
	return ""
}

// whole checks what concerns the whole gateway.
func (c *checker) whole() {
	l := &c.cfg.Limits
	if limits := c.cfg.tree.Get("limits"); limits != nil && l.URI >= l.Header && l.Header > 0 && (given(limits, "uri") != nil || given(limits, "header") != nil) {
		c.r.In(limits).AddField("uri", "want less than limits.header, which counts the whole head: "+l.Header.String(), "")
	}
	proxies := c.cfg.tree.Get("trusted_proxies")
	for i, p := range c.cfg.TrustedProxies {
		if p.IsValid() && p.Bits() == 0 {
			c.r.WarnNode(proxies.Values()[i], p.String()+" trusts everybody: any client can then name any address as its own", "")
		}
	}
}

// unused warns of services and profiles that no route names.
func (c *checker) unused() {
	for _, s := range c.cfg.Services {
		if !c.used["service "+s.Name] {
			c.r.Warn(s.At, s.Node.Path, "no route uses this service", "")
		}
	}
	for _, p := range c.cfg.Profiles {
		if !c.used["profile "+p.Name] {
			c.r.Warn(p.At, p.Node.Path, "no route uses this profile; its plugins were not checked", "")
		}
	}
}

// plugins checks the options of plugins, and that they exist.
func (c *checker) plugins(options map[string]*setting.Node, at *setting.Node) {
	if at == nil {
		return
	}
	for _, e := range at.Entries {
		if !slices.Contains(c.o.Plugins, e.Key) {
			text := "there is no plugin " + strconv.Quote(e.Key)
			near := setting.Nearest(e.Key, c.o.Plugins)
			if near == "" {
				text += "; known: " + strings.Join(slices.Sorted(slices.Values(c.o.Plugins)), ", ")
			}
			c.r.Mask(e.Value)
			c.r.Add(e.At, e.Path, text, near)
			delete(options, e.Key)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		c.plugin(name, options[name])
	}
}

func (c *checker) plugin(name string, n *setting.Node) {
	if c.checked[n] || n.Unset {
		return
	}
	c.checked[n] = true
	switch {
	case n.Kind != setting.Map:
		c.r.AddNode(n, "want a map of options, {} for the defaults, or off; got "+n.Describe(), "")
	case c.o.CheckPlugin != nil:
		c.o.CheckPlugin(name, n, c.cfg, c.r.In(n))
	}
}
