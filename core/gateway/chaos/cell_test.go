package chaos

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// The routes. Only where a fault is silent a test waits for timeouts: those are
// short there, and long wherever a slow machine could be taken for a fault.
const (
	patient = "/patient"
	hasty   = "/hasty"
	probe   = "/probe"
)

const configuration = `
services:
  a:
    endpoints: [%s]
    timeouts: {connect: 10s, response: 10s, idle: 10s, total: 20s}
    retry: {retries: 1, when: [connect, reset, timeout], backoff: {initial: 1ms, maximum: 1ms}}
profiles: {small: {limits: {buffer: 4KiB}, retry: {idempotency_key: true}}}
routes:
  patient: {use: [small], match: {path: "/patient/{rest...}"}, service: a}
  hasty: {use: [small], match: {path: "/hasty/{rest...}"}, service: a, timeouts: {%s}}
  probe: {match: {path: /probe}, service: a}
`

// cell is one fault that meets one behaviour, with a gateway of its own.
type cell struct {
	t        *testing.T
	fault    *fault
	endpoint *endpoint
	network  *network
	gateway  *gatewaytest.Gateway
	client   *gatewaytest.Client
	route    string
	left     bool // the client has closed its connection
}

func newCell(t *testing.T, f *fault) *cell {
	c := &cell{t: t, fault: f, endpoint: newEndpoint(t, f.silent && !f.failover), route: patient}
	timeouts := "response: 150ms, idle: 150ms"
	if f.silent {
		c.route = hasty
	}
	switch {
	case f.midway:
		timeouts = "response: 2s, idle: 2s" // what comes before the fault must keep to them
	case f.failover:
		timeouts = "response: 2s" // so must the second endpoint
	}
	c.network = newNetwork(t, c.endpoint.Address())
	endpoints := fmt.Sprintf("{url: %q}", "http://"+c.network.address)
	if f.failover {
		endpoints += fmt.Sprintf(", {url: %q}", c.endpoint.URL())
	}
	c.gateway = gatewaytest.Run(t, fmt.Sprintf(configuration, endpoints, timeouts))
	c.network.prepare(f)
	c.dial()
	c.ask() // so that the fault meets connections that are kept
	if f.failover {
		c.ask() // of the other endpoint, so that it is the first one's turn
	}
	c.endpoint.received.Store(0)
	return c
}

func (c *cell) dial() { c.client, c.left = gatewaytest.Dial(c.t, c.gateway.Address()), false }

// leave closes the client's connection.
func (c *cell) leave() {
	c.left = true
	_ = c.client.Conn.Close()
}

// ask sends a request that must be answered at once, on the connection at hand if
// there is one still, else on a new one. It returns whether there was.
func (c *cell) ask() (kept bool) {
	c.t.Helper()
	const request = "GET " + probe + " HTTP/1.1\r\nHost: h\r\n\r\n"
	var answer string
	if !c.left && c.client.TryWrite(request) == nil {
		var err error
		answer, err = c.client.TryRead("GET")
		kept = err == nil
	}
	if !kept {
		c.dial()
		c.client.Write(request)
		answer = c.client.Read("GET")
	}
	if got := told("GET", answer, nil, smallBody); got != "200" {
		c.t.Errorf("a request without a fault got %s", got)
	}
	return kept
}

func (c *cell) strike() {
	c.network.strike(c.fault)
	c.endpoint.proceed()
}

// strikeBefore and strikeMidway strike if the fault does so there.
func (c *cell) strikeBefore() {
	if !c.fault.midway {
		c.strike()
	}
}

func (c *cell) strikeMidway() {
	if c.fault.midway {
		c.strike()
	}
}

// Series that say what lies open.
const (
	inFlight = `gateway_in_flight`
	busy     = `gateway_upstream_connections{state="busy"}`
	idle     = `gateway_upstream_connections{state="idle"}`
)

// metric is the value of a series; 0 if there is none.
func (c *cell) metric(series string) int {
	return value(c.gateway.Metrics(), series)
}

func value(metrics, series string) int {
	_, rest, found := strings.Cut(metrics, "\n"+series+" ")
	if !found {
		return 0
	}
	number, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return -1
	}
	return int(n)
}

// counters are shown where they are not 0.
var counters = []struct{ name, series string }{
	{"retries", "gateway_retries_total"},
	{"stale", "gateway_upstream_stale_total"},
	{"strays", "gateway_upstream_strays_total"},
	{"broken", "gateway_upstream_broken_bodies_total"},
	{"aborts", "gateway_client_aborts_total"},
	{"refused", "gateway_upstream_dial_errors_total"},
}

var logged = regexp.MustCompile(`(?m)^gateway_requests_total\{method="[A-Z]+",route="(?:patient|hasty)",status_code="(\d+)",service="a"\} (\d+)$`)

// seen is how many requests reached the endpoint as a whole, and in part, beside
// those of ask.
func (c *cell) seen() (whole, parts int) {
	for _, request := range c.endpoint.Requests() {
		head, content, found := strings.Cut(request, "\r\n\r\n")
		switch {
		case strings.Contains(head, " "+probe+" "):
		case !found,
			strings.Contains(head, "Content-Length: ") && len(content) < smallBody,
			strings.Contains(head, "Transfer-Encoding: chunked") && !strings.HasSuffix(content, "0\r\n\r\n"):
			parts++
		default:
			whole++
		}
	}
	return whole, parts
}

// traces is what the exchange left behind at the endpoint and in the metrics.
func (c *cell) traces() string {
	metrics := c.gateway.Metrics()
	whole, parts := c.seen()
	words := []string{fmt.Sprintf("seen %d", whole)}
	if parts > 0 {
		words = append(words, fmt.Sprintf("and %d in part", parts))
	}
	var statuses []string
	for _, m := range logged.FindAllStringSubmatch(metrics, -1) {
		if m[2] != "0" {
			statuses = append(statuses, m[1])
		}
		if m[2] > "1" {
			statuses = append(statuses, "more than once")
		}
	}
	slices.Sort(statuses)
	words = append(words, "logged "+strings.Join(statuses, " "))
	for _, k := range counters {
		if n := value(metrics, k.series); n != 0 {
			words = append(words, fmt.Sprintf("%s %d", k.name, n))
		}
	}
	if n := value(metrics, inFlight) + value(metrics, busy); n != 0 {
		words = append(words, fmt.Sprintf("open %d", n))
	}
	return strings.Join(append(words, fmt.Sprintf("idle %d", value(metrics, idle))), ", ")
}

// run does it all and compares: what the client got, what was left behind, and
// what the next request meets when the fault is over.
func (c *cell) run(behaviour, want string) {
	wantAnswer, wantRest, _ := strings.Cut(want, "; ")
	wantTraces, wantAfter, _ := strings.Cut(wantRest, "; ")
	answer := behaviours[behaviour](c)
	traces := ""
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if traces = c.traces(); behaviour == "broken upload" {
			// On a busy machine the sweeper may see the client's end before the reader.
			traces = strings.Replace(traces, "logged 499, aborts 1", "logged 400", 1)
		}
		if traces == wantTraces || time.Now().After(deadline) {
			break
		}
	}
	pooled := c.metric(idle) > 0 && !c.fault.failover
	whole, _ := c.seen()
	accepted := c.endpoint.Accepts()
	c.network.heal(pooled)
	after := "closed"
	if c.left {
		after = "left"
	}
	asked := time.Now()
	if c.ask() {
		after = "kept"
	}
	if took := time.Since(asked); took > patience/2 {
		c.t.Errorf("the request after the fault took %v: longer than anything but a timeout", took)
	}
	if pooled && c.endpoint.Accepts() != accepted {
		c.t.Errorf("the connection that was kept was not used again")
	}
	if now, _ := c.seen(); now != whole {
		c.t.Errorf("the endpoint saw %d requests, and %d later", whole, now)
	}
	if got := answer + "; " + traces + "; " + after; got != want {
		c.t.Errorf("\n got %s\nwant %s", got, wantAnswer+"; "+wantTraces+"; "+wantAfter)
	}
}

// patience is how long a cell may take to come to rest on a busy machine.
const patience = 10 * time.Second
