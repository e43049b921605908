package upstream

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// finder is told by the test what it finds.
type finder struct {
	mu      sync.Mutex
	watches map[Discovery][]*func([]EndpointSpec) error
	known   []EndpointSpec
}

func (f *finder) Watch(d Discovery, apply func([]EndpointSpec) error) func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watches[d] = append(f.watches[d], &apply)
	if f.known != nil {
		_ = apply(f.known)
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i, other := range f.watches[d] {
			if other == &apply {
				f.watches[d] = append(f.watches[d][:i], f.watches[d][i+1:]...)
			}
		}
	}
}

func (f *finder) finds(d Discovery, specs ...EndpointSpec) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, apply := range f.watches[d] {
		err = (*apply)(specs)
	}
	return err
}

func members(s *Service) string {
	var out []string
	for _, m := range s.Members() {
		out = append(out, m.Address+" "+m.key.TLS.ServerName)
	}
	return strings.Join(out, ",")
}

func TestEndpointsThatAreFound(t *testing.T) {
	t.Parallel()
	f := &finder{watches: map[Discovery][]*func([]EndpointSpec) error{}}
	r := NewRegistry((&counting{}).open)
	r.Await(context.Background()) // nobody finds anything
	r.Find(f)
	d := Discovery{Source: "test", Name: "shop"}
	found := ServiceSpec{Name: "s", Discovery: d, TLS: TLS{ServerName: "shop.test"}}
	s, err := r.Acquire(found)
	if err != nil {
		t.Fatal(err)
	}
	var tried Tried
	if e := s.Pick(&tried, 0); e != nil {
		t.Errorf("picked %v of none", e)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	r.Await(ctx)
	if ctx.Err() == nil {
		t.Error("nothing was awaited")
	}
	again, err := r.Acquire(found)
	if err != nil || again != s || len(f.watches[d]) != 1 {
		t.Errorf("another holder: %v, %d watches", err, len(f.watches[d]))
	}
	if err := f.finds(d, EndpointSpec{Address: "a", Weight: 1}, EndpointSpec{Address: "b", Weight: 2}); err != nil {
		t.Fatal(err)
	}
	r.Await(context.Background())
	if got, want := members(s), "a shop.test,b shop.test"; got != want {
		t.Errorf("members %s, want %s", got, want)
	}
	if err := f.finds(d, EndpointSpec{Address: "a"}); err == nil {
		t.Error("an endpoint without a weight was taken")
	}
	if got, want := members(s), "a shop.test,b shop.test"; got != want {
		t.Errorf("after a refusal: members %s, want %s", got, want)
	}
	// A reload that changes a timeout makes another service, which knows the endpoints at once.
	f.known = []EndpointSpec{{Address: "a", Weight: 1}}
	changed := found
	changed.Timeouts.Total = time.Second
	other, err := r.Acquire(changed)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := members(other), "a shop.test"; got != want {
		t.Errorf("the changed service: members %s, want %s", got, want)
	}
	s.Release()
	if len(f.watches[d]) != 2 {
		t.Error("a watch ended before the last holder left")
	}
	again.Release()
	other.Release()
	if services, endpoints := r.Len(); len(f.watches[d]) != 0 || services != 0 || endpoints != 0 {
		t.Errorf("at the end: %d watches, %d services, %d endpoints", len(f.watches[d]), services, endpoints)
	}
}
