// Package proxy looks up.
package proxy

import (
	_ "github.com/suuupra/gateway/core/snapshot"     // want layers "imports core/snapshot (row 4)"
	_ "github.com/suuupra/gateway/plugins/accesslog" // want layers "imports plugins/accesslog"
)
