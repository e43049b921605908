// Package gateway takes what it must not.
package gateway

import (
	_ "log"      // want reserved-imports "only cmd/upstream and core/meter/stdlog may"
	_ "log/slog" // want reserved-imports "only cmd/upstream and core/meter/stdlog may"
	_ "testing"  // want reserved-imports "only tests may"

	_ "github.com/VictoriaMetrics/metrics" // want reserved-imports "it locks on every update"
	_ "github.com/fasthttp/router"         // want reserved-imports "only core/admin and cmd may"
	_ "github.com/goccy/go-yaml/ast"       // want reserved-imports "decoded strictly"
	_ "github.com/rs/zerolog/log"

	_ "github.com/suuupra/gateway/core/discovery/dns" // want reserved-imports "joined in cmd"
)
