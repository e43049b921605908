package accesslog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/wire"
)

// maxHeaders bounds the length of a line, for which room is kept.
const maxHeaders = 32

// options are the options of access_log.
type options struct {
	To      string             `yaml:"to" default:"stdout" doc:"stdout, stderr, or the path of a file that is appended to, such as /var/log/gateway/access.log."`
	Sample  setting.Share      `yaml:"sample" default:"100%" doc:"Share of the exchanges that are logged; those with a status of 500 and above, and slow ones, always are."`
	Slow    setting.Duration   `yaml:"slow" default:"1s" off:"true" doc:"From this duration on an exchange is slow; off: none is."`
	Query   string             `yaml:"query" default:"off" off:"true" enum:"names" doc:"names: log the names of query parameters; values never are."`
	Headers setting.StringList `yaml:"headers" doc:"Request fields to log with their values."`
	Redact  setting.StringList `yaml:"redact" doc:"Request fields whose values are never logged, whatever headers says."`
}

// unloggable are fields whose values are secrets (SECURITY C12).
var unloggable = []string{
	"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-API-Key", "X-Client-Fingerprint",
}

// check reports what the types alone can't say.
func check(o options, r *setting.Report) {
	if o.To != "stdout" && o.To != "stderr" && !strings.Contains(o.To, "/") {
		r.AddField("to", fmt.Sprintf("want stdout, stderr or the path of a file, got %q; a file in the working directory begins with ./", o.To), "./"+o.To)
	}
	if strings.HasSuffix(o.To, "/") {
		r.AddField("to", fmt.Sprintf("want a file, got the folder %q", o.To), o.To+"access.log")
	}
	if len(o.Headers) > maxHeaders {
		r.AddField("headers", fmt.Sprintf("want at most %d fields, got %d", maxHeaders, len(o.Headers)), "")
	}
	for i, name := range o.Headers {
		at := fmt.Sprintf("headers[%d]", i)
		checkName(r, at, name)
		if slices.ContainsFunc(unloggable, func(secret string) bool { return strings.EqualFold(secret, name) }) {
			r.AddField(at, name+" holds a secret and can't be logged; remove it", "")
		}
		if slices.ContainsFunc(o.Headers[:i], func(other string) bool { return strings.EqualFold(other, name) }) {
			r.AddField(at, name+" is listed twice", "")
		}
	}
	for i, name := range o.Redact {
		checkName(r, fmt.Sprintf("redact[%d]", i), name)
	}
}

// maxName is how long a field name may be, in bytes.
const maxName = 128

func checkName(r *setting.Report, at, name string) {
	if !wire.ValidFieldName([]byte(name)) || len(name) > maxName {
		r.AddField(at, fmt.Sprintf("want the name of a header field, got %q", name), "")
	}
}
