package cors

import (
	"fmt"
	"strings"

	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/wire"
)

// options are the options of cors.
type options struct {
	Origins     []origin         `yaml:"origins" doc:"Origins whose pages may read answers, such as https://app.example.com; * alone: all of them; null: pages without an origin."`
	Methods     []method         `yaml:"methods" default:"GET,HEAD,POST" doc:"Methods that a preflight may ask for; HEAD comes with GET."`
	Headers     []fieldName      `yaml:"headers" doc:"Request fields that a preflight may ask for, such as Authorization and Content-Type."`
	Expose      []fieldName      `yaml:"expose" doc:"Response fields that pages may read beside those that they always may."`
	Credentials bool             `yaml:"credentials" default:"false" doc:"Whether browsers may send cookies and client certificates along, and show the answer all the same."`
	MaximumAge  setting.Duration `yaml:"maximum_age" default:"10m" max:"24h" doc:"How long a browser may remember the answer to a preflight; 0s: not at all."`
}

// method is a method that pages can send.
type method string

// UnmarshalText reads a method.
func (m *method) UnmarshalText(text []byte) error {
	s, upper := string(text), strings.ToUpper(string(text))
	switch {
	case s == "*":
		return &setting.ValueError{Want: "the methods one by one: a wildcard would allow those of tomorrow as well"}
	case !wire.ValidFieldName(text) || len(text) > longestToken: // both are tokens
		return &setting.ValueError{Want: "a method such as GET"}
	case upper == "CONNECT" || upper == "TRACE" || upper == "TRACK":
		return &setting.ValueError{Want: "a method that browsers let pages send"}
	case s != upper:
		return &setting.ValueError{Want: "a method in upper case", Suggest: upper}
	}
	*m = method(s)
	return nil
}

// JSONSchema describes the form of a method.
func (method) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": `^[!#$%&'*+.^_|~0-9A-Z-]+$|\$\{`}
}

// fieldName is the name of a header field.
type fieldName string

// UnmarshalText reads a field name.
func (f *fieldName) UnmarshalText(text []byte) error {
	switch {
	case string(text) == "*":
		return &setting.ValueError{Want: "the names of fields one by one: a wildcard would allow those of tomorrow as well"}
	case !wire.ValidFieldName(text) || len(text) > longestToken:
		return &setting.ValueError{Want: "the name of a header field"}
	}
	*f = fieldName(text)
	return nil
}

// JSONSchema describes the form of a field name.
func (fieldName) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": `^[!#$%&'*+.^_|~0-9A-Za-z-]+$|\$\{`}
}

// longestToken is how long a field name or method may be, in bytes.
const longestToken = 64

// unsendable are request fields that browsers set themselves or keep from pages
// (Fetch standard, forbidden request-header); preflights never ask for them.
var unsendable = map[string]string{
	"cookie": "pages send cookies with credentials: true", "cookie2": "", "origin": "", "host": "", "referer": "", "connection": "",
	"content-length": "", "transfer-encoding": "", "te": "", "trailer": "", "upgrade": "", "via": "", "date": "", "dnt": "", "expect": "",
	"keep-alive": "", "accept-charset": "", "accept-encoding": "", "access-control-request-headers": "", "access-control-request-method": "",
}

// unreadable are response fields that browsers show to no page.
var unreadable = map[string]bool{"set-cookie": true, "set-cookie2": true}

// check reports what the types alone can't say.
func check(o options, r *setting.Report) {
	checkOrigins(o, r)
	if len(o.Methods) == 0 {
		r.AddField("methods", "want at least one method, or leave the key out", "")
	}
	once(r, "methods", o.Methods)
	once(r, "headers", o.Headers)
	once(r, "expose", o.Expose)
	for i, name := range o.Headers {
		if why, found := unsendable[strings.ToLower(string(name))]; found {
			text := string(name) + " has no effect here: browsers let no page set it"
			if why != "" {
				text += "; " + why
			}
			r.WarnField(fmt.Sprintf("headers[%d]", i), text, "")
		}
	}
	for i, name := range o.Expose {
		if unreadable[strings.ToLower(string(name))] {
			r.WarnField(fmt.Sprintf("expose[%d]", i), string(name)+" has no effect here: browsers show it to no page", "")
		}
	}
}

// checkOrigins reports origins that give away more than anybody can want.
func checkOrigins(o options, r *setting.Report) {
	if len(o.Origins) == 0 {
		r.AddField("origins", "want at least one origin, such as https://app.example.com", "")
	}
	once(r, "origins", o.Origins)
	for i, entry := range o.Origins {
		at := fmt.Sprintf("origins[%d]", i)
		switch {
		case entry == anyOrigin && o.Credentials:
			r.AddField(at, "with credentials, * would let every page on the web act for its visitors; list the origins, or set credentials: false", "")
		case entry == anyOrigin && len(o.Origins) > 1:
			r.AddField(at, "* is every origin, so it stands alone", "")
		case entry == nullOrigin && o.Credentials:
			r.AddField(at, "any page can make itself one without an origin, so null can't go with credentials; remove it, or set credentials: false", "")
		case o.Credentials && plainHTTP(entry):
			r.WarnField(at, "whoever is in the network of a visitor can forge pages of an http:// origin, and act for the visitor with credentials; use https://", "")
		}
	}
}

// plainHTTP says whether pages of an origin come over a network without TLS.
func plainHTTP(o origin) bool {
	rest, plain := strings.CutPrefix(string(o), "http://")
	host, _, _ := splitAuthority(rest)
	return plain && host != "localhost" && !strings.HasSuffix(host, ".localhost") && !strings.HasPrefix(host, "127.") && host != "[::1]"
}

// once reports what is listed more than once. Names of fields differ by more than case.
func once[S ~string](r *setting.Report, field string, list []S) {
	seen := map[string]bool{}
	for i, entry := range list {
		key := strings.ToLower(string(entry))
		if seen[key] {
			r.AddField(fmt.Sprintf("%s[%d]", field, i), string(entry)+" is listed twice", "")
		}
		seen[key] = true
	}
}
