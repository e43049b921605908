package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/wire"
)

// unmatched is the name under which requests are counted that match no route.
const unmatched = "none"

// routes checks all routes, one by one and against each other.
func (c *checker) routes() {
	if routes := c.cfg.tree.Get("routes"); routes == nil || routes.Kind == setting.Map && len(c.cfg.Routes) == 0 {
		at := c.cfg.tree
		if routes != nil {
			at = routes
		}
		c.r.Add(at.At, "routes", "want at least one route", "")
	}
	for _, route := range c.cfg.Routes {
		if route.Node.Kind == setting.Map {
			c.route(route)
		}
	}
	c.table()
}

func (c *checker) route(route *Route) {
	if route.Name == unmatched {
		c.r.Add(route.At, route.Node.Path, "want another name: "+unmatched+" stands for what matches no route", "")
	}
	for _, name := range route.Use {
		c.used["profile "+name] = true
	}
	c.answer(route)
	c.destinations(route)
	c.match(route)
	c.target(route)
	c.redirect(route)
	c.respond(route)
	c.plugins(route.Plugins, route.Node.Get("plugins"))
	if route.Retry != nil {
		c.retry(route.Node.Get("retry"), &route.Retry.Retry)
	}
	for i, name := range route.Trailers {
		if name != "" && !mayTrail(name) {
			n := route.Node.Get("trailers").Values()[i]
			c.r.AddNode(n, "want the name of a field that may stand in a trailer, got "+n.Describe(), "")
		}
	}
}

// answer wants exactly one of service, split, redirect and respond.
func (c *checker) answer(route *Route) {
	var set []string
	for _, key := range []string{"service", "split", "redirect", "respond"} {
		if !missing(route.Node, key) {
			set = append(set, key)
		}
	}
	if len(set) != 1 {
		got := "none"
		if len(set) > 0 {
			got = strings.Join(set, " and ")
		}
		c.r.Add(route.At, route.Node.Path, "want exactly one of service, split, redirect and respond, got "+got, "")
	}
	n := given(route.Node, "service")
	if n == nil || route.Service == "" {
		return
	}
	c.used["service "+route.Service] = true
	if !slices.Contains(c.services, route.Service) {
		c.r.AddNode(n, "want the name of a service, got "+n.Describe(), nearest(n, c.services))
	}
}

// match checks the names of listeners, and that no path is the gateway's own.
func (c *checker) match(route *Route) {
	match := route.Node.Get("match")
	if missing(match, "path") && missing(match, "paths") {
		c.r.Add(route.At, route.Node.Path, `want match.path or match.paths; "/{rest...}" takes every path`, "")
	}
	for i, name := range route.Match.Listeners {
		if listeners := keys(c.cfg.tree.Get("listen")); name != "" && !slices.Contains(listeners, name) {
			n := match.Get("listeners").Values()[i]
			c.r.AddNode(n, "want the name of a listener, got "+n.Describe(), nearest(n, listeners))
		}
	}
	for i, path := range route.Match.AllPaths() {
		for _, own := range c.o.Reserved {
			if overlaps(path, own) {
				n := c.pathNode(route, i)
				c.r.AddNode(n, "want a path beside the gateway's own "+own+", got "+n.Describe(), "")
			}
		}
	}
}

// nearest returns the known name that n was probably meant to be. It tells
// nothing of what may not be shown.
func nearest(n *setting.Node, known []string) string {
	if n.Expanded {
		return ""
	}
	return setting.Nearest(n.Text, known)
}

// pathNode returns where the i-th path of a route was written.
func (c *checker) pathNode(route *Route, i int) *setting.Node {
	match := route.Node.Get("match")
	if route.Match.Path != "" {
		if i == 0 {
			return match.Get("path")
		}
		i--
	}
	return match.Get("paths").Values()[i]
}

// overlaps says that a route's path names a path of the gateway's own: literally,
// or literally below one that ends in {rest...}. A route's own parameters and
// rest are less specific than what the gateway has there, so they don't count.
func overlaps(path, own string) bool {
	a, b := strings.Split(path, "/"), strings.Split(own, "/")
	for i, segment := range b {
		if strings.HasSuffix(segment, "...}") {
			return true
		}
		if i >= len(a) || a[i] != segment {
			return i >= len(a) && strings.HasSuffix(segment, "...}")
		}
	}
	return len(a) == len(b)
}

// names returns the parameters that every path, or every host, of a route has.
func (route *Route) names() []string {
	var out []string
	paths := make([][]string, 0, len(route.Match.Paths)+1)
	for _, path := range route.Match.AllPaths() {
		if p, err := router.ParsePattern(path); err == nil {
			paths = append(paths, p.Names())
		}
	}
	hosts := make([][]string, 0, len(route.Match.Hosts))
	for _, host := range route.Match.Hosts {
		if h, err := router.ParseHost(host); err == nil {
			hosts = append(hosts, h.Names())
		}
	}
	for _, lists := range [][][]string{paths, hosts} {
		out = append(out, inAll(lists)...)
	}
	return out
}

// inAll returns the words of the first list that all lists have.
func inAll(lists [][]string) []string {
	var out []string
	if len(lists) == 0 {
		return nil
	}
	for _, word := range lists[0] {
		if !slices.ContainsFunc(lists[1:], func(list []string) bool { return !slices.Contains(list, word) }) {
			out = append(out, word)
		}
	}
	return out
}

// serviceKeys are of use only to routes that a service answers.
var serviceKeys = []string{"pin", "mirror", "strip_prefix", "rewrite", "host", "trailers"}

// target checks what is sent to the service.
func (c *checker) target(route *Route) {
	n := route.Node
	if missing(n, "service") && missing(n, "split") && (!missing(n, "redirect") || !missing(n, "respond")) {
		for _, key := range serviceKeys {
			if v := given(n, key); v != nil {
				c.r.AddNode(v, "only a route with a service can have "+key, "")
			}
		}
		return
	}
	strip, rewrite, host := given(n, "strip_prefix"), given(n, "rewrite"), given(n, "host")
	if strip != nil && rewrite != nil {
		c.r.AddNode(rewrite, "want strip_prefix or rewrite, got both", "")
	}
	if strip != nil && route.StripPrefix != "" {
		c.stripPrefix(route, strip)
	}
	if rewrite != nil && route.Rewrite != "" && c.template(rewrite, route.names()) {
		if fault := pathFault(fill(rewrite.Text, "x")); fault != "" {
			c.r.AddNode(rewrite, "want "+fault+", got "+rewrite.Describe(), "")
		}
	}
	if host != nil && route.Host != "" && route.Host != "preserve" && !isRedirectHost(route.Host) {
		c.r.AddNode(host, "want preserve, or a host with or without a port, got "+host.Describe(), nearest(host, []string{"preserve"}))
	}
}

// stripPrefix wants whole literal segments that every path begins with.
func (c *checker) stripPrefix(route *Route, n *setting.Node) {
	prefix := route.StripPrefix
	if fault := pathFault(prefix); fault != "" || strings.HasSuffix(prefix, "/") {
		if fault == "" {
			fault = "a prefix without a final /"
		}
		c.r.AddNode(n, "want "+fault+", got "+n.Describe(), "")
		return
	}
	p, err := router.ParsePattern(prefix)
	if err != nil || len(p.Names()) > 0 {
		c.r.AddNode(n, "want a literal prefix such as /content, got "+n.Describe(), "")
		return
	}
	for _, path := range route.Match.AllPaths() {
		pattern, err := router.ParsePattern(path)
		if err == nil && pattern.String() != p.String() && !strings.HasPrefix(pattern.String(), p.String()+"/") {
			c.r.AddNode(n, "want a prefix of every path of the route; one does not begin with "+n.Describe(), "")
			return
		}
	}
}

// redirect checks where a route sends its clients (SECURITY C7).
func (c *checker) redirect(route *Route) {
	redirect := mapOf(route.Node.Get("redirect"))
	if redirect == nil {
		return
	}
	if missing(redirect, "to") {
		c.r.AddNode(redirect, "want a path or a URL in to", "")
	}
	n := given(redirect, "to")
	if n == nil || route.Redirect == nil || route.Redirect.To == "" || !c.template(n, route.names()) {
		return
	}
	if fault := redirectFault(n.Text, fill(n.Text, "x")); fault != "" {
		c.r.AddNode(n, "want "+fault+", got "+n.Describe(), "")
		return
	}
	if strings.HasPrefix(n.Text, "/{") && route.Path.DoubleSlashes == "keep" {
		c.r.AddNode(n, "want a path that begins with a literal segment: with double_slashes kept, "+n.Describe()+" could begin with // and name another host", "")
	}
}

// respond checks a fixed answer.
func (c *checker) respond(route *Route) {
	respond := mapOf(route.Node.Get("respond"))
	if respond == nil || route.Respond == nil {
		return
	}
	status := route.Respond.Status
	if body := given(respond, "body"); body != nil && (status == 204 || status == 205 || status == 304) {
		c.r.AddNode(body, "an answer with status "+strconv.Itoa(status)+" has no body (RFC 9110 §15)", "")
	}
	if n := given(respond, "content_type"); n != nil && route.Respond.ContentType != "" && !isMediaType(route.Respond.ContentType) {
		c.r.AddNode(n, "want a media type such as application/json, got "+n.Describe(), "")
	}
}

// isMediaType says that s is type/subtype with parameters, all printable ASCII.
func isMediaType(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	kind, _, _ := strings.Cut(s, ";")
	main, sub, ok := strings.Cut(strings.TrimSpace(kind), "/")
	return ok && isToken(main) && isToken(sub)
}

// isToken says that s is a token (RFC 9110 §5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// noTrailers are fields that frame, route or authorize a message: in a trailer
// they would come after they were looked at (RFC 9110 §6.5.1).
var noTrailers = []string{
	"authorization", "cache-control", "connection", "content-encoding", "content-length", "content-range", "content-type",
	"cookie", "date", "expect", "host", "idempotency-key", "keep-alive", "max-forwards", "origin", "pragma", "range",
	"server", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "vary", "via", "warning", "www-authenticate",
	"x-api-key", "x-correlation-id",
}

// mayTrail says whether a field may be passed on as a trailer: one that no service
// can take for a field that only the gateway sets (SECURITY C3).
func mayTrail(name string) bool {
	folded := strings.ToLower(name)
	for _, c := range []byte(folded) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	if strings.HasPrefix(folded, "if-") || strings.HasPrefix(folded, "proxy-") {
		return false
	}
	return !slices.Contains(noTrailers, folded) && !wire.Reserved([]byte(name))
}
