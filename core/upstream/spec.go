package upstream

import (
	"fmt"
	"time"

	"github.com/suuupra/gateway/core/setting"
)

// Balance is how requests are spread over the endpoints of a service.
type Balance uint8

// The balancers.
const (
	WeightedRoundRobin Balance = iota
	LeastRequests
	Random
	ConsistentHash
)

// When is a set of reasons to try a request again.
type When uint8

// The reasons.
const (
	OnConnect When = 1 << iota // no connection could be made
	OnReset                    // the connection broke before the answer's head was whole
	OnTimeout                  // a timeout fired before the answer's head was whole
	On500                      // not a default: many services answer so to what another endpoint refuses as well
	On502
	On503
	On504
)

// Has says whether all of reasons are in the set.
func (w When) Has(reasons When) bool { return w&reasons == reasons }

// Status says whether an answer with that status is a reason.
func (w When) Status(status int) bool {
	switch status {
	case 500:
		return w.Has(On500)
	case 502:
		return w.Has(On502)
	case 503:
		return w.Has(On503)
	case 504:
		return w.Has(On504)
	default:
		return false
	}
}

// Timeouts bounds the waits for a service; 0 is no bound.
type Timeouts struct {
	Connect  time.Duration // until a connection stands
	Response time.Duration // from the request sent to the answer's head, each try
	Idle     time.Duration // between two bytes of a body
	Total    time.Duration // to the answer's head, tries and queueing included
}

// Retry says when a request is tried again.
type Retry struct {
	Retries int           // tries beyond the first
	PerTry  time.Duration // to the answer's head; 0 is no bound
	When    When
	Budget  float64 // retries as a share of the requests of the last 10 s
	Backoff Backoff
}

// Backoff is the wait before a further try: it doubles from Initial to Maximum.
type Backoff struct{ Initial, Maximum time.Duration }

// ConnectionSettings bounds the connections to one endpoint.
type ConnectionSettings struct {
	Maximum     int // open at once
	Idle        int // kept while nobody uses them
	IdleTimeout time.Duration
	Keepalive   bool // false: one request for each connection
}

// TLS is how an endpoint is spoken to over TLS. It holds all that changes a
// handshake, so that two equal ones may share connections and sessions. The zero
// value is plain HTTP.
type TLS struct {
	// ServerName is what the endpoint's certificate must be for: a host name, or an
	// IP address. It is never empty but in the zero value.
	ServerName string
	// Minimum is the oldest version, as crypto/tls has it.
	Minimum uint16
	// Authorities sign the endpoint's certificate, in PEM form; empty: those that the
	// system trusts.
	Authorities string
	// Certificate and Key are shown to an endpoint that asks, in PEM form; empty: none.
	Certificate string
	Key         setting.Secret
}

// On says whether TLS is spoken.
func (t *TLS) On() bool { return t.ServerName != "" }

// ServiceSpec declares a service. Two equal specs are one service.
type ServiceSpec struct {
	Name        string
	Endpoints   []EndpointSpec // none with Discovery
	Discovery   Discovery
	TLS         TLS // of endpoints that are found
	Balance     Balance
	Timeouts    Timeouts
	Connections ConnectionSettings
	Retry       Retry
	// PanicThreshold is the share of endpoints in service, 0 to 1, below which requests
	// are spread over all of them.
	PanicThreshold float64
	Breaker        BreakerSpec
	Bulkhead       BulkheadSpec
	Health         HealthCheck
	Ejection       Ejection
	// SlowStart is how long the weight of an endpoint grows that comes into service
	// while others are; 0: not at all.
	SlowStart time.Duration
}

// EndpointSpec declares one endpoint of a service.
type EndpointSpec struct {
	Address    string // host:port
	HostHeader string // what Host says to it, where the route does not
	Weight     int    // 1–1000
	TLS        TLS
}

// largestWeight bounds the weights, so that a sequence stays small.
const largestWeight = 1000

func (s *ServiceSpec) validate() error {
	if len(s.Endpoints) == 0 && !s.Discovery.On() {
		return fmt.Errorf("it has no endpoint")
	}
	return checkEndpoints(s.Endpoints)
}

// checkEndpoints judges the endpoints of one service.
func checkEndpoints(specs []EndpointSpec) error {
	seen := make(map[string]bool, len(specs))
	for _, e := range specs {
		if e.Weight < 1 || e.Weight > largestWeight {
			return fmt.Errorf("endpoint %s: weight %d is not 1–%d", e.Address, e.Weight, largestWeight)
		}
		if seen[e.Address] {
			return fmt.Errorf("endpoint %s stands twice: give it a weight instead", e.Address)
		}
		seen[e.Address] = true
	}
	return nil
}

// identity tells two specs apart: it writes out every value of s.
func (s *ServiceSpec) identity() string { return fmt.Sprintf("%+v", *s) }
