// Package plugins lists the plugins that the gateway is built with.
package plugins

import (
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/plugins/accesslog"
	"github.com/suuupra/gateway/plugins/auth"
	"github.com/suuupra/gateway/plugins/cors"
	"github.com/suuupra/gateway/plugins/ipfilter"
	"github.com/suuupra/gateway/plugins/maintenance"
	"github.com/suuupra/gateway/plugins/ratelimit"
	"github.com/suuupra/gateway/plugins/securityheaders"
	"github.com/suuupra/gateway/plugins/websocket"
)

// All returns every plugin, in the order of the phases that they work in; where
// two work in one phase, this is the order in which their hooks run. A new
// plugin is added here, and nowhere else.
func All() []plugin.Plugin {
	return []plugin.Plugin{
		cors.Plugin,            // Guard, Response: ahead of all that refuses, so that pages can read why
		ipfilter.Plugin,        // Guard
		maintenance.Plugin,     // Guard: only those who may come in are told
		websocket.Plugin,       // Guard: what is let in, and is a handshake
		auth.Plugin,            // Guard, Authenticate, Authorize, Request, Log
		ratelimit.Plugin,       // Guard, Limit, Response: behind auth, which says in Guard who shows a credential
		securityheaders.Plugin, // Response
		accesslog.Plugin,       // Log
	}
}
