// Package config may import little.
package config

import (
	_ "github.com/suuupra/gateway/core/proxy" // want layers "it may only import"
	_ "github.com/suuupra/gateway/core/router"
	_ "github.com/suuupra/gateway/core/setting"
)
