package config

import (
	"net/url"
	"strings"

	"github.com/suuupra/gateway/core/setting"
)

const wantURL = "want http://host:port or https://host:port, got "

// How the URLs of endpoints begin.
const (
	schemePlain = "http://"
	schemeTLS   = "https://"
)

// service checks one service and its endpoints.
func (c *checker) service(s *Service) {
	if s.Node.Kind != setting.Map {
		return
	}
	if found := c.found(s); !found && missing(s.Node, "endpoints") || emptyList(s.Node.Get("endpoints")) {
		c.r.Add(s.At, s.Node.Path, "want at least one endpoint, or consul or dns, which find them", "")
	}
	seen := make(map[string]bool)
	for _, e := range s.Endpoints {
		if e.Node.Kind != setting.Map {
			continue
		}
		if missing(e.Node, "url") {
			c.r.AddNode(e.Node, wantURL+"an endpoint without url", "")
		}
		n := given(e.Node, "url")
		if n == nil || e.URL == "" {
			continue
		}
		a, ok := parseEndpoint(e.URL)
		if strings.Contains(e.URL, "@") {
			c.r.Mask(n)
			c.r.AddNode(n, wantURL+"one with a user or a password", "")
			continue
		}
		if !ok {
			c.r.AddNode(n, wantURL+n.Describe(), suggestURL(n))
			continue
		}
		if seen[e.Address] {
			c.r.AddNode(n, "this endpoint stands twice: give it a weight instead", "")
		}
		seen[e.Address] = true
		if admin, ok := parseAddress(c.cfg.Admin.Address); ok && admin.meets(a) {
			c.r.AddNode(n, "an endpoint can't be the admin listener, "+c.cfg.Admin.Address, "")
		}
	}
	c.retry(s.Node.Get("retry"), &s.Retry)
	if e := s.Ejection; e != nil && e.Node.Get("consecutive").IsOff() && e.Node.Get("ratio").IsOff() {
		c.r.AddNode(e.Node, "want consecutive or ratio: with both off nothing is ever ejected; write ejection: off for that", "")
	}
	c.guard(s)
	c.serviceTLS(s)
	c.health(s)
}

func emptyList(n *setting.Node) bool { return n != nil && n.Kind == setting.List && len(n.Items) == 0 }

// parseEndpoint reads http://host:port, or the same with https, with nothing before,
// between or after.
func parseEndpoint(s string) (address, bool) {
	rest, ok := strings.CutPrefix(s, schemePlain)
	if !ok {
		rest, ok = strings.CutPrefix(s, schemeTLS)
	}
	if !ok {
		return address{}, false
	}
	a, ok := parseAddress(rest)
	return a, ok && a.host != "" && a.port != 0
}

// suggestURL guesses what a URL was meant to be: with its port, without its path.
func suggestURL(n *setting.Node) string {
	if n.Expanded {
		return ""
	}
	text := n.Text
	if !strings.Contains(text, "://") {
		text = schemePlain + text
	}
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Path != "" && u.Path != "/" {
		return ""
	}
	port, ok := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	if !ok {
		return ""
	}
	meant := u.Scheme + "://" + u.Host
	if u.Port() == "" {
		meant = strings.TrimSuffix(meant, ":") + port
	}
	if _, ok := parseEndpoint(meant); !ok {
		return ""
	}
	return meant
}

// retry checks what several keys of a retry say together.
func (c *checker) retry(n *setting.Node, retry *Retry) {
	if mapOf(n) == nil {
		return
	}
	b := retry.Backoff
	if b.Initial > 0 && b.Maximum > 0 && b.Initial > b.Maximum {
		c.r.In(n).AddField("backoff", "want a maximum that is not below initial, got "+b.Maximum.String()+" and "+b.Initial.String(), "")
	}
}
