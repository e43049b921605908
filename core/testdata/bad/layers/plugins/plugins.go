// Package plugins lists its folders.
package plugins

import (
	_ "github.com/suuupra/gateway/core/plugin"
	_ "github.com/suuupra/gateway/plugins/accesslog"
)
