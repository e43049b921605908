package upstream

import (
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
)

// HealthCheck says how the endpoints of a service are checked. The zero value is not
// at all.
type HealthCheck struct {
	TCP      bool          // a connection is enough; else Path is asked for
	Path     string        // with its query, if it has one
	Statuses Statuses      // of a healthy endpoint's answer
	Body     string        // what its body must hold within the first BodyPrefix bytes; "": anything
	Interval time.Duration // from one check to the next
	Timeout  time.Duration // of a whole check
	Rise     int           // passed checks in a row that make an unhealthy endpoint healthy
	Fall     int           // failed checks in a row that make an endpoint unhealthy
	Backoff  time.Duration // the longest interval, while the endpoint is unhealthy
}

// BodyPrefix is how many bytes of a body are looked at.
const BodyPrefix = 16 << 10

// On says whether anything is checked.
func (h *HealthCheck) On() bool { return h.Interval > 0 }

// Statuses is a set of statuses, 100 to 599.
type Statuses [8]uint64

const leastStatus = 100

// StatusesOf returns the set of all that are given, and within 100 to 599.
func StatusesOf(all ...int) (s Statuses) {
	for _, status := range all {
		if i := status - leastStatus; i >= 0 && i < 500 {
			s[i/64] |= 1 << (i % 64)
		}
	}
	return s
}

// Has says whether status is in the set.
func (s *Statuses) Has(status int) bool {
	i := status - leastStatus
	return i >= 0 && i < 500 && s[i/64]&(1<<(i%64)) != 0
}

// String lists the set: "200 or 204".
func (s *Statuses) String() string {
	var all []string
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			all = append(all, strconv.Itoa(leastStatus+64*i+bits.TrailingZeros64(word)))
		}
	}
	return strings.Join(all, " or ")
}

// Outcome is what came of one check.
type Outcome uint8

// The outcomes.
const (
	Passed       Outcome = iota
	NotConnected         // no connection could be made
	NotSecured           // TLS could not be agreed upon
	TimedOut             // the check took too long, wherever it was
	WrongStatus          // another status than wanted
	WrongBody            // the body does not hold what is wanted
	Malformed            // the answer is no HTTP/1, or not as strict as it must be
	Broken               // the connection broke before the answer was whole
	outcomes
)

// outcomeNames are the outcomes as metrics name them.
var outcomeNames = [outcomes]string{
	Passed: "passed", NotConnected: "connect", NotSecured: "tls", TimedOut: "timeout",
	WrongStatus: "status", WrongBody: "body", Malformed: "malformed", Broken: "broken",
}

// String is the outcome's name in metrics.
func (o Outcome) String() string { return outcomeNames[o] }

// Prober makes probes. The transport implements it.
type Prober interface {
	// Probe returns what checks e as h says. It connects to nothing yet.
	Probe(e *Endpoint, h *HealthCheck) Probe
}

// Probe checks one endpoint.
type Probe interface {
	// Check checks once, until due (monotonic ns), at a bounded cost whatever the
	// endpoint does. The error says why a check did not pass, for people. One check
	// runs at a time.
	Check(due int64) (Outcome, error)
	// Close closes what is kept from one check to the next. A check under way ends at
	// once, and there may be none after it. It is called once.
	Close()
}

// Checking is what a registry checks endpoints with.
type Checking struct {
	Clock  clock.Clock
	Prober Prober
	Log    zerolog.Logger // of changes
	// Recorder, if not nil, is told of changes.
	Recorder Recorder
}

// Checked is what checks found out about an endpoint.
type Checked struct {
	Health  Health
	Since   time.Time // when Health last changed; zero if never
	Last    time.Time // when the last check ended; zero before the first
	Took    time.Duration
	Outcome Outcome // of the last check
	Reason  string  // why the last check did not pass; "" if it did
}
