// Package accesslog is the plugin access_log: one JSON line for each exchange
// that has ended (SPEC PL1).
//
// A line is encoded by the goroutine of its exchange, without an allocation,
// straight into one of several buffers; one goroutine for each place that is
// logged to writes them in batches. Nobody ever waits for that place: when it
// can't keep up, lines are dropped and counted.
package accesslog

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
)

// Plugin is access_log.
var Plugin = plugin.Of("access_log", check, build)

// logger logs the exchanges of one route. It is immutable.
type logger struct {
	sink    *sink
	sample  float64
	slow    int64 // nanoseconds; 0: nothing is slow
	query   bool
	headers []header
	longest int // bytes of the longest line
}

// header is a request field to log.
type header struct {
	name     string
	key      []byte // `"Name":`, ready to be appended
	redacted bool
}

func build(o options, d *plugin.Deps) (pipeline.Instance, error) {
	s, release, err := keepSink(o.To, d)
	if err != nil {
		return pipeline.Instance{}, err
	}
	if id := d.Identity; id != nil && id.FingerprintHeader != "" {
		o.Redact = append(slices.Clone(o.Redact), id.FingerprintHeader) // SECURITY I14
	}
	l := newLogger(o, s)
	instance := pipeline.Instance{Close: release}
	instance.Hooks[pipeline.Log] = l.log
	return instance, nil
}

func newLogger(o options, s *sink) *logger {
	l := &logger{
		sink: s, sample: float64(o.Sample), slow: int64(time.Duration(o.Slow)),
		query: o.Query == "names", longest: longestLine,
	}
	for _, name := range o.Headers {
		h := header{name: name, key: append(appendText(nil, name), ':')}
		for _, other := range o.Redact {
			h.redacted = h.redacted || strings.EqualFold(other, name)
		}
		l.headers = append(l.headers, h)
		l.longest += len(h.key) + longestText + len(",")
	}
	return l
}

// log is the Log hook.
func (l *logger) log(x *pipeline.Exchange) pipeline.Verdict {
	if !l.wanted(x) {
		return pipeline.Continue
	}
	// Asked for before the buffer is locked: it is code of somebody else's.
	cause := ""
	if x.Cause != nil {
		cause = x.Cause.Error()
	}
	if b := l.sink.begin(x.Stripe, l.longest); b != nil {
		defer l.sink.end(b)
		b.bytes = l.appendLine(b.bytes, x, cause)
		b.lines++
	}
	return pipeline.Continue
}

// wanted says whether x is logged: what went wrong or took long always is.
func (l *logger) wanted(x *pipeline.Exchange) bool {
	return l.sample >= 1 || x.Status >= 500 || l.slow > 0 && x.Timing.End-x.Timing.Start >= l.slow ||
		l.sample > 0 && rand.Float64() < l.sample
}
