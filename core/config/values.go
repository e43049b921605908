package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/setting"
)

// RetryOn is one kind of failed try.
type RetryOn string

// What counts as a failed try, beside the statuses 500, 502, 503 and 504.
const (
	RetryOnConnect RetryOn = "connect" // no connection could be made
	RetryOnReset   RetryOn = "reset"   // the connection broke before the response head was whole
	RetryOnTimeout RetryOn = "timeout" // a timeout fired before the response head was whole
)

const retryOns = "connect|reset|timeout|500|502|503|504"

// UnmarshalText reads one of the words or statuses; a status may be written as a number.
func (o *RetryOn) UnmarshalText(text []byte) error {
	known := strings.Split(retryOns, "|")
	if !slices.Contains(known, string(text)) {
		return &setting.ValueError{Want: setting.OneOf(known), Suggest: setting.Nearest(string(text), known)}
	}
	*o = RetryOn(text)
	return nil
}

// JSONSchema describes the words and statuses.
func (RetryOn) JSONSchema() map[string]any {
	return map[string]any{"enum": []any{"connect", "reset", "timeout", 500, 502, 503, 504, "500", "502", "503", "504"}}
}

// On says whether a try that failed with o is made again, given that the
// request is safe to send again.
func (r *Retry) On(o RetryOn) bool { return r.Retries > 0 && slices.Contains(r.When, o) }

// OnStatus says whether a try that was answered with status counts as failed.
func (r *Retry) OnStatus(status int) bool { return r.On(RetryOn(strconv.Itoa(status))) }

// Condition asks something of one header field or query key: a plain string is
// an exact value; {regex: …} and {present: true} are the other forms.
type Condition struct {
	Kind  router.ConditionKind
	Value string // of Exact and Regex
}

// conditionForm is the long form of a Condition.
type conditionForm struct {
	Regex   string `yaml:"regex" doc:"A regular expression (RE2) that matches anywhere in the value."`
	Present bool   `yaml:"present" doc:"true: there, with whatever value."`
}

// DecodeSetting reads either form.
func (c *Condition) DecodeSetting(n *setting.Node, r *setting.Report) {
	if n.Kind != setting.Map {
		c.Kind = router.Exact
		setting.Decode(n, &c.Value, r)
		return
	}
	var form conditionForm
	setting.Decode(n, &form, r)
	switch hasRegex, hasPresent := n.Get("regex") != nil, n.Get("present") != nil; {
	case hasRegex && hasPresent:
		r.AddNode(n, "want either regex or present, got both", "")
	case hasRegex:
		c.Kind, c.Value = router.Regex, form.Regex
	case hasPresent && !form.Present && !n.Get("present").Unset:
		r.AddNode(n.Get("present"), "want true: there is no condition that a field is absent", "")
	case !hasPresent && len(n.Entries) == 0:
		r.AddNode(n, "want a string, {regex: …} or {present: true}", "")
	}
}

// JSONSchema describes both forms.
func (Condition) JSONSchema() map[string]any {
	return map[string]any{"anyOf": []any{
		map[string]any{"type": "string", "minLength": 1},
		setting.SchemaOf[conditionForm](),
	}}
}

// RouterMatch returns the match as the router takes it, conditions sorted by name.
func (m *Match) RouterMatch(priority int) router.Match {
	return router.Match{
		Listeners: m.Listeners, Hosts: m.Hosts, Paths: m.AllPaths(), Methods: m.Methods,
		Headers: conditions(m.Headers), Query: conditions(m.Query), Priority: priority,
	}
}

func conditions(m map[string]Condition) []router.Condition {
	out := make([]router.Condition, 0, len(m))
	for name, c := range m {
		out = append(out, router.Condition{Name: name, Kind: c.Kind, Value: c.Value})
	}
	slices.SortFunc(out, func(a, b router.Condition) int { return strings.Compare(a.Name, b.Name) })
	return out
}
