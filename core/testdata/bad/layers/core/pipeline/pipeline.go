// Package pipeline may import two of its own row.
package pipeline

import (
	_ "github.com/suuupra/gateway/core/router"
	_ "github.com/suuupra/gateway/core/upstream"
	_ "github.com/suuupra/gateway/core/wire"
)
