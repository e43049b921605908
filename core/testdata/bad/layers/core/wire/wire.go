// Package wire stands in row 0.
package wire

import (
	_ "github.com/suuupra/gateway/core/meter"  // want layers "imports core/meter of its own row"
	_ "github.com/suuupra/gateway/core/router" // want layers "(row 0) imports core/router (row 1)"
)
