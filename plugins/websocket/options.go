package websocket

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/wire"
)

// options are the options of websocket.
type options struct {
	Connections int              `yaml:"connections" default:"10000" min:"1" max:"10000000" off:"true" doc:"WebSockets that the route may have open at once; off: as many as there are connections."`
	Origins     []string         `yaml:"origins" doc:"Origins whose pages may open one, such as https://app.example, beside the route's own host and those that cors lists with credentials."`
	Idle        setting.Duration `yaml:"idle" default:"5m" min:"1s" max:"168h" off:"true" doc:"How long neither side may send anything; pings count."`
}

// check reports what the types alone can't say.
func check(o options, r *setting.Report) {
	for i, origin := range o.Origins {
		field := fmt.Sprintf("origins[%d]", i)
		want, ok := canonicalOrigin(origin)
		switch {
		case !ok:
			r.AddField(field, fmt.Sprintf("want an origin such as https://app.example or http://localhost:3000, got %q", origin), want)
		case want != origin:
			r.AddField(field, fmt.Sprintf("want the origin as browsers write it, got %q", origin), want)
		}
	}
}

// canonicalOrigin returns an origin as browsers send it (RFC 6454 §6.2): scheme and
// host in lower case, no port where it is the scheme's own, nothing behind. What
// can be said of a text that is none stands in the first result, for a hint.
func canonicalOrigin(text string) (origin string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "", false
	}
	host, _, hostErr := wire.CanonicalHost(nil, []byte(u.Host))
	if hostErr != nil {
		return "", false
	}
	origin = u.Scheme + "://" + string(host)
	if port := u.Port(); port != "" && port != defaultPort[u.Scheme] {
		origin += ":" + port
	}
	return origin, text == u.Scheme+"://"+u.Host && !strings.HasSuffix(text, ":")
}

// defaultPort is what an origin does not say.
var defaultPort = map[string]string{"http": "80", "https": "443"}
