package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/suuupra/gateway/core/setting"
)

// admin wants a loopback address that nothing else listens on (SECURITY C8).
func (c *checker) admin() {
	n := given(c.cfg.tree.Get("admin"), "address")
	a, ok := parseAddress(c.cfg.Admin.Address)
	switch {
	case n == nil || c.cfg.Admin.Address == "":
	case !ok:
		c.r.AddNode(n, "want an address such as 127.0.0.1:9901, got "+n.Describe(), "")
	case !a.loopback():
		c.r.AddNode(n, "want a loopback address such as 127.0.0.1:9901, got "+n.Describe()+": the admin listener has no TLS, so its tokens could be read on the way", loopbackOf(n, a))
	}
	for _, l := range c.cfg.Listeners {
		if b, listens := parseAddress(l.Address); ok && listens && a.meets(b) {
			c.r.In(l.Node).AddField("address", "want an address beside the admin listener's, "+c.cfg.Admin.Address, "")
		}
	}
	for i, host := range c.cfg.Admin.Hosts {
		if _, err := netip.ParseAddr(host); host != "" && err != nil && !isHostName(host) {
			n := c.cfg.tree.Get("admin").Get("hosts").Values()[i]
			c.r.AddNode(n, "want a host name or an IP address without a port, got "+n.Describe(), "")
		}
	}
	c.adminTokens()
}

// The length of an admin token: too long to be guessed, and short enough for a
// field of a request.
const (
	shortestAdminToken = 32
	longestAdminToken  = 1024
)

// adminTokens wants tokens that can't be guessed, that a request can carry, and
// that tell their holders apart. No message shows one.
func (c *checker) adminTokens() {
	holders := make(map[string]string, len(c.cfg.Admin.Tokens))
	for _, t := range c.cfg.Admin.Tokens {
		if t.Node.Kind != setting.Map {
			continue
		}
		key, token := "token", t.Token.Reveal()
		if given(t.Node, "token_file") != nil {
			key = "token_file"
		}
		switch {
		case missing(t.Node, "token") && missing(t.Node, "token_file"):
			c.r.Add(t.At, t.Node.Path, "want a token or a token_file", "")
		case t.Token.IsZero():
		case len(token) < shortestAdminToken || len(token) > longestAdminToken:
			c.r.In(t.Node).AddField(key, "want a token of 32 to 1024 characters, such as `openssl rand -hex 32` makes, got one of "+strconv.Itoa(len(token)), "")
		case !isBearer(token):
			c.r.In(t.Node).AddField(key, "want a token of letters, digits and - . _ ~ + / with = at the end only: a request can carry no others", "")
		case holders[token] != "":
			c.r.In(t.Node).AddField(key, "want a token of its own: "+holders[token]+" has the same", "")
		default:
			holders[token] = t.Name
		}
	}
}

// isBearer says that s is a b64token of RFC 6750 §2.1.
func isBearer(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return s != ""
}

func loopbackOf(n *setting.Node, a address) string {
	if n.Expanded {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(a.port)))
}
