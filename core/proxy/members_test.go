package proxy

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/upstream"
)

// TestMembersChangeUnderLoad: endpoints come and go, and with no retries at all no
// request fails for it. An endpoint that stays keeps its connections.
func TestMembersChangeUnderLoad(t *testing.T) {
	t.Parallel()
	stays, goes := newOrigin(t, answering(okAnswer)), newOrigin(t, answering(okAnswer))
	f := newFront(t, stays, func(o *options) { o.spec.Connections.Maximum = 2 })
	stop := make(chan struct{})
	var served atomic.Int64
	var group sync.WaitGroup
	for range 6 { // more than the connections of one endpoint: some wait in its queue when it goes
		group.Go(func() {
			c := f.dial()
			for {
				select {
				case <-stop:
					return
				default:
				}
				c.send("GET / HTTP/1.1\r\nHost: f\r\n\r\n")
				if r := c.read("GET"); r.status != 200 {
					t.Errorf("got %+v", r)
					return
				}
				served.Add(1)
			}
		})
	}
	one := upstream.EndpointSpec{Address: stays.address(), HostHeader: "origin.test", Weight: 1}
	two := upstream.EndpointSpec{Address: goes.address(), HostHeader: "origin.test", Weight: 1}
	for i := range 100 {
		before := served.Load()
		specs := []upstream.EndpointSpec{one, two}
		if i%2 == 1 {
			specs = specs[:1]
		}
		if err := f.service.SetEndpoints(specs); err != nil {
			t.Fatal(err)
		}
		eventually(t, "requests go on", func() bool { return served.Load() >= before+10 || t.Failed() })
	}
	close(stop)
	group.Wait()
	if n := stays.accepts(); n > 2 {
		t.Errorf("%d connections to the endpoint that stays, want 2", n)
	}
	if goes.accepts() == 0 {
		t.Error("the endpoint that comes and goes was never asked")
	}
}

func TestNoEndpointMayBeAsked(t *testing.T) {
	t.Parallel()
	f := newFront(t, newOrigin(t, answering(okAnswer)), retrying(3))
	endpoint := f.service.Members()[0]
	for what, change := range map[string]func(bad bool){
		"drained": func(bad bool) { f.service.Members()[0].SetDrained(bad) },
		"no members": func(bad bool) {
			specs := []upstream.EndpointSpec{{Address: endpoint.Address, HostHeader: endpoint.HostHeader, Weight: 1}}
			if bad {
				specs = nil
			}
			if err := f.service.SetEndpoints(specs); err != nil {
				t.Fatal(err)
			}
		},
	} {
		change(true)
		if r := f.get(); r.status != 503 {
			t.Errorf("%s: got %+v", what, r)
		}
		if e := f.over(); e.fault != fault.NoHealthyEndpoint.Code() || e.tries != 0 {
			t.Errorf("%s: %+v", what, e)
		}
		change(false)
		if r := f.get(); r.status != 200 {
			t.Errorf("%s no more: got %+v", what, r)
		}
		f.over()
	}
}
