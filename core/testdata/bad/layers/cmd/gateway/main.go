// Command gateway joins everything.
package main

import (
	_ "github.com/suuupra/gateway/core/gateway"
	_ "github.com/suuupra/gateway/core/store/redis"
	_ "github.com/suuupra/gateway/plugins"
)
