package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/config"
)

// answering is the gateway that answers at the admin listener.
type answering struct {
	address string
	health  struct {
		Status string          `json:"status"`
		Ready  bool            `json:"ready"`
		Checks map[string]bool `json:"checks"`
	}
	strange bool          // what answers is no gateway
	status  *admin.Status // nil: it takes none of the tokens that there are here
}

// answerWithin is how long one server may take for one answer.
const answerWithin = 2 * time.Second

// askRunning asks the gateway that runs how it is; nil: nobody answers.
func askRunning(ctx context.Context, o *operator) *answering {
	address, _, ok := config.Operators(o.from.options(newObserved()))
	g := &answering{address: cmp.Or(o.address, address.Address)}
	if !ok && o.address == "" {
		return nil
	}
	client := &fasthttp.HostClient{Addr: g.address, NoDefaultUserAgentHeader: true, MaxIdemponentCallAttempts: 1}
	defer client.CloseIdleConnections()
	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://" + g.address + admin.PathHealth)
	if err := client.DoTimeout(&req, &resp, atMost(ctx, answerWithin)); err != nil {
		return nil
	}
	g.strange = json.Unmarshal(resp.Body(), &g.health) != nil || g.health.Status == ""
	if g.strange {
		return g
	}
	if resp, err := o.askWithin(fasthttp.MethodGet, "/admin/status", atMost(ctx, answerWithin)); err == nil {
		var s admin.Status
		if json.Unmarshal(resp.Body(), &s) == nil && s.Version != "" {
			g.status = &s
		}
	}
	return g
}

// atMost is d, or what ctx has left if that is less.
func atMost(ctx context.Context, d time.Duration) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return max(min(d, time.Until(end)), time.Millisecond)
	}
	return d
}

// checkGateway tells what the gateway that runs says of itself.
func checkGateway(_ context.Context, e *examination) []diagnosis {
	const name = "gateway"
	one := func(state, text, do string) []diagnosis { return []diagnosis{{state, name, text, do}} }
	g := e.gateway
	switch {
	case g == nil:
		return one(stateOK, "none runs here with this configuration", "")
	case g.strange:
		return one(stateFail, "something else answers at "+g.address, "stop it, or choose another admin.address")
	case !g.health.Ready:
		return one(stateWarn, "it runs and is not ready", "`gateway status` says why")
	case g.health.Status != "healthy":
		var sick []string
		for _, what := range []string{"certificates", "database", "redis", "services"} {
			if well, known := g.health.Checks[what]; known && !well {
				sick = append(sick, what)
			}
		}
		return one(stateWarn, "it runs and is "+g.health.Status+": "+strings.Join(sick, ", "), "see the lines of these, and its log")
	}
	return one(stateOK, "it runs, is ready and healthy", "")
}

// checkListeners looks whether the addresses are free, or the gateway's own.
func checkListeners(_ context.Context, e *examination) []diagnosis {
	var found []diagnosis
	for _, l := range e.config.Listeners {
		found = append(found, e.listen("listener "+l.Name, l.Address))
		if l.RedirectFrom != "" {
			found = append(found, e.listen("listener "+l.Name+", redirect_from", l.RedirectFrom))
		}
	}
	return append(found, e.listen("admin listener", e.config.Admin.Address))
}

func (e *examination) listen(name, address string) diagnosis {
	var plain net.ListenConfig
	plain.SetMultipathTCP(false)
	socket, err := plain.Listen(context.Background(), "tcp", address)
	switch {
	case err == nil:
		_ = socket.Close() // nothing was accepted
		return diagnosis{stateOK, name, address + " is free", ""}
	case errors.Is(err, syscall.EADDRINUSE) && e.holds(address):
		return diagnosis{stateOK, name, address + " is held by the gateway that runs", ""}
	case errors.Is(err, syscall.EADDRINUSE) && e.gateway != nil && !e.gateway.strange && e.gateway.status == nil:
		return diagnosis{stateWarn, name, address + " is in use, maybe by the gateway that runs, which takes none of the tokens that are here", "give --token-file, or run doctor as the gateway's user"}
	}
	do := strings.TrimSpace(advice(err))
	if errors.Is(err, syscall.EADDRINUSE) {
		do += " A socket unit of systemd that is made for this gateway is right to hold it."
	}
	return diagnosis{stateFail, name, err.Error(), cmp.Or(do, "choose an address of this machine")}
}

// holds says whether the gateway that runs listens at address.
func (e *examination) holds(address string) bool {
	if e.gateway == nil || e.gateway.strange {
		return false
	}
	same := func(other string) bool {
		_, a, errA := net.SplitHostPort(address)
		_, b, errB := net.SplitHostPort(other)
		return errA == nil && errB == nil && a == b
	}
	if same(e.gateway.address) && address == e.config.Admin.Address {
		return true
	}
	if e.gateway.status == nil {
		return false
	}
	for _, l := range e.gateway.status.Connections.Listeners {
		if same(l.Address) {
			return true
		}
	}
	return false
}

// together is how many endpoints are tried at once.
const together = 32

// checkServices connects to each endpoint once, and says no word of HTTP.
func checkServices(ctx context.Context, e *examination) []diagnosis {
	free := make(chan struct{}, together)
	found := make([]diagnosis, len(e.config.Services))
	var running sync.WaitGroup
	for i, s := range e.config.Services {
		problems := make([]error, len(s.Endpoints))
		var trying sync.WaitGroup
		for k, endpoint := range s.Endpoints {
			trying.Go(func() {
				free <- struct{}{}
				problems[k] = reach(ctx, s, endpoint)
				<-free
			})
		}
		running.Go(func() {
			trying.Wait()
			found[i] = judgeService(s, problems)
		})
	}
	running.Wait()
	return found
}

// reach connects to an endpoint, and shakes hands with it where TLS is spoken.
func reach(ctx context.Context, s *config.Service, endpoint *config.Endpoint) error {
	ctx, cancel := context.WithTimeout(ctx, max(time.Duration(s.Timeouts.Connect), answerWithin))
	defer cancel()
	var d net.Dialer
	if !endpoint.Secure {
		c, err := d.DialContext(ctx, "tcp", endpoint.Address)
		if err != nil {
			return err
		}
		return c.Close()
	}
	trust, err := clientTLS(s.TLS)
	if err != nil {
		return err
	}
	if trust == nil {
		trust = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	trust.ServerName = s.TLS.NameFor(endpoint.Address)
	c, err := (&tls.Dialer{NetDialer: &d, Config: trust}).DialContext(ctx, "tcp", endpoint.Address)
	if err != nil {
		return fmt.Errorf("%s: %w", endpoint.Address, err)
	}
	return c.Close()
}

// judgeService sums up what came of each endpoint of s.
func judgeService(s *config.Service, problems []error) diagnosis {
	const do = "see that it runs, that its name resolves, and that this machine may connect to it"
	name := "service " + s.Name
	var first error
	away := 0
	for _, err := range problems {
		if err != nil {
			away++
			first = cmp.Or(first, err)
		}
	}
	switch {
	case len(problems) == 0:
		return diagnosis{stateOK, name, "no endpoint is declared here", ""}
	case away == 0:
		return diagnosis{stateOK, name, fmt.Sprintf("%d of %d endpoints can be reached", len(problems), len(problems)), ""}
	case away == len(problems):
		return diagnosis{stateFail, name, fmt.Sprintf("no endpoint can be reached; the first: %v", first), do}
	}
	return diagnosis{stateWarn, name, fmt.Sprintf("%d of %d endpoints can't be reached; the first: %v", away, len(problems), first), do}
}
