// Package gateway imports what tests use.
package gateway

import (
	_ "github.com/suuupra/gateway/core/plugin/plugintest" // want test-imports "serves tests alone"
	_ "github.com/suuupra/gateway/core/testenv"           // want test-imports "serves tests alone"
)
