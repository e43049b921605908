// Package accesslog reaches too far.
package accesslog

import (
	_ "github.com/suuupra/gateway/core/config" // want layers "plugins import rows 0–2"
	_ "github.com/suuupra/gateway/core/pipeline"
	_ "github.com/suuupra/gateway/core/store/redis"        // want layers "plugins import rows 0–2" // want reserved-imports "only cmd and core/store may"
	_ "github.com/suuupra/gateway/plugins/securityheaders" // want layers "plugins never import each other"
)
