package maintenance

import (
	"github.com/suuupra/gateway/core/setting"
)

// options are the options of maintenance.
type options struct {
	Enabled    bool             `yaml:"enabled" default:"true" doc:"Whether the route is under maintenance; false keeps the other options for the next time."`
	RetryAfter setting.Duration `yaml:"retry_after" default:"1m" min:"1s" max:"720h" doc:"When clients are told to come again (Retry-After)."`
	AllowFrom  []setting.CIDR   `yaml:"allow_from" doc:"Networks whose clients come in all the same, to try what was changed."`
}
