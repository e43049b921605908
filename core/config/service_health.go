package config

import (
	"strconv"
	"strings"

	"github.com/suuupra/gateway/core/setting"
)

// Health says how the endpoints of a service are checked: by a GET of Path, or by a
// connection alone.
type Health struct {
	Path     string           `yaml:"path" doc:"What is asked for by GET, with its query; the answer judges the endpoint. Redirects are not followed."`
	TCP      bool             `yaml:"tcp" default:"false" doc:"A connection is enough, and nothing is asked; instead of path."`
	Status   []int            `yaml:"status" min:"200" max:"599" doc:"Statuses of a healthy endpoint; 200 if none is given."`
	Body     string           `yaml:"body" doc:"Text that the body must hold within its first 16 KiB."`
	Interval setting.Duration `yaml:"interval" default:"10s" min:"100ms" max:"1h" doc:"From one check to the next, give or take a tenth."`
	Timeout  setting.Duration `yaml:"timeout" default:"1s" min:"1ms" max:"10m" doc:"How long a whole check may take."`
	Rise     int              `yaml:"rise" default:"2" min:"1" max:"100" doc:"Checks that must pass in a row before an unhealthy endpoint gets requests again."`
	Fall     int              `yaml:"fall" default:"3" min:"1" max:"100" doc:"Checks that must fail in a row before an endpoint gets no more requests."`
	Backoff  setting.Duration `yaml:"backoff" default:"60s" min:"100ms" max:"24h" doc:"The longest interval between checks of an unhealthy endpoint: each that fails doubles it, one that passes resets it."`
}

// What a check may ask for, in bytes.
const (
	longestHealthPath = 1024
	longestHealthBody = 1024
)

// mostStatuses is how many statuses a check may take for healthy.
const mostStatuses = 32

// health checks how a service is checked.
func (c *checker) health(s *Service) {
	n := mapOf(s.Node.Get("health"))
	if n == nil || s.Health == nil {
		return
	}
	h, r := s.Health, c.r.In(n)
	switch path := given(n, "path"); {
	case h.TCP:
		for _, key := range []string{"path", "status", "body"} {
			if given(n, key) != nil {
				r.AddField(key, "a check by tcp asks nothing: take out "+key+" or tcp", "")
			}
		}
	case path == nil && missing(n, "path"):
		c.r.AddNode(n, "want path (what to ask for), or tcp: true", "")
	case path != nil && !validHealthPath(h.Path):
		r.AddField("path", "want a path such as /health, up to 1024 printable ASCII characters without spaces and #, got "+path.Describe(), "")
	}
	if len(h.Status) > mostStatuses {
		r.AddField("status", "want at most "+strconv.Itoa(mostStatuses)+" statuses", "")
	}
	if len(h.Body) > longestHealthBody {
		r.AddField("body", "want a text of at most 1024 bytes", "")
	}
	if given(n, "timeout") != nil && h.Interval > 0 && h.Timeout > h.Interval {
		r.AddField("timeout", "want a timeout that is not above interval, got "+h.Timeout.String()+" and "+h.Interval.String(), "")
	}
	if given(n, "backoff") != nil && h.Backoff > 0 && h.Backoff < h.Interval {
		r.AddField("backoff", "want a backoff that is not below interval, got "+h.Backoff.String()+" and "+h.Interval.String(), "")
	}
}

// validHealthPath says whether path can stand in a request as it is.
func validHealthPath(path string) bool {
	if len(path) > longestHealthPath || !strings.HasPrefix(path, "/") {
		return false
	}
	return !strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' })
}
