// Package websocket is the plugin websocket: it lets WebSockets pass on a route
// (SPEC WS1, SECURITY C5). On every other route a handshake is a request like any
// other, and its Upgrade is removed.
//
// The plugin judges the handshake, in Guard: ahead of authentication, and of
// whatever it costs. The transport carries it out: package proxy asks the service and
// judges its 101, package tunnel carries the bytes.
package websocket

import (
	"bytes"
	"encoding/base64"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
)

// Plugin is websocket.
var Plugin = plugin.Of("websocket", check, build)

// Field names as fasthttp spells them after normalising.
const (
	keyName     = "Sec-Websocket-Key"
	versionName = "Sec-Websocket-Version"
)

// version is the only one that there is (RFC 6455 §4.1).
var version = []byte("13")

// door is what one route lets in. It is never written.
type door struct {
	origins map[string]bool
	upgrade pipeline.Upgrade
}

func build(o options, _ *plugin.Deps) (pipeline.Instance, error) {
	d := &door{origins: map[string]bool{}, upgrade: pipeline.Upgrade{Maximum: o.Connections, Idle: time.Duration(o.Idle)}}
	for _, origin := range o.Origins {
		d.origins[origin] = true
	}
	var instance pipeline.Instance
	instance.Hooks[pipeline.Guard] = d.open
	return instance, nil
}

// open is the Guard hook. What is no handshake of a WebSocket goes on as it is.
func (d *door) open(x *pipeline.Exchange) pipeline.Verdict {
	if !x.WebSocket {
		return pipeline.Continue
	}
	h := &x.Request.Header
	if versions := h.PeekAll(versionName); len(versions) != 1 || !bytes.Equal(versions[0], version) {
		return wrongVersion(x)
	}
	if keys := h.PeekAll(keyName); len(keys) != 1 || !validKey(keys[0]) {
		return x.Fail(fault.BadRequest.Detail("a WebSocket's handshake has one Sec-WebSocket-Key of 16 bytes in base64"))
	}
	if !x.TrustedOrigin && !d.admits(h) {
		return x.Fail(fault.Forbidden.Detail("pages of this origin may not open WebSockets here"))
	}
	x.Upgrade = &d.upgrade
	return pipeline.Continue
}

// wrongVersion says which version there is (RFC 6455 §4.4, RFC 9110 §15.5.22).
func wrongVersion(x *pipeline.Exchange) pipeline.Verdict {
	verdict := x.Fail(fault.UpgradeRequired.Detail("the WebSocket version is 13"))
	h := &x.Response.Header
	h.SetCanonical([]byte("Connection"), []byte("Upgrade"))
	h.SetCanonical([]byte("Upgrade"), []byte("websocket"))
	h.SetCanonical([]byte("Sec-WebSocket-Version"), version)
	return verdict
}

// keySize is the size of a key in base64 (RFC 6455 §4.1): 16 bytes.
const keySize = 24

// validKey says whether key is base64 of 16 bytes. That the bits which stand for no
// byte are 0 is not asked for: the RFC's own example has others.
func validKey(key []byte) bool {
	if len(key) != keySize {
		return false
	}
	var room [keySize]byte
	n, err := base64.StdEncoding.Decode(room[:], key)
	return err == nil && n == 16
}

// admits says whether the page that opens the WebSocket may. Browsers send their
// cookies along with a handshake whatever page asks for it, and no CORS stops
// it: without this any site could talk in a user's name. Who is no browser sends no
// Origin, and could send any.
func (d *door) admits(h *fasthttp.RequestHeader) bool {
	origins := h.PeekAll(fasthttp.HeaderOrigin)
	switch len(origins) {
	case 0:
		return true
	case 1:
		return d.origins[string(origins[0])] || sameHost(origins[0], h.Host())
	default:
		return false
	}
}

var defaultPorts = map[string][]byte{"http": []byte(":80"), "https": []byte(":443")}

// sameHost says whether an origin's host and port are those of Host. The scheme
// may differ: whoever ends TLS in front of the gateway need not say so.
func sameHost(origin, host []byte) bool {
	scheme, authority, ok := bytes.Cut(origin, []byte("://"))
	port, known := defaultPorts[string(scheme)]
	return ok && known && len(authority) > 0 &&
		bytes.EqualFold(bytes.TrimSuffix(authority, port), bytes.TrimSuffix(host, port))
}
