package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Each rule that makes a run void, broken once.
func TestRoundsThatDoNotCount(t *testing.T) {
	t.Parallel()
	good := func() *round {
		return &round{
			subject: nginx, connections: 64,
			wrk: wrkResult{Requests: 1000, Duration: 2 * time.Second, P50: time.Millisecond, P99: 2 * time.Millisecond, P999: 3 * time.Millisecond},
			cpu: 20 * time.Millisecond, part: 50 * time.Millisecond, all: 250 * time.Millisecond, took: 2 * time.Second,
			before: counts{Accepts: 10, Requests: 5000}, after: counts{Accepts: 75, Requests: 6010},
		}
	}
	if err := good().check(); err != nil {
		t.Fatal(err)
	}
	want := sample{cpu: 20, rate: 500, p50: 1, p99: 2, p999: 3, others: 0.1}
	if got := good().sample(); got != want {
		t.Errorf("sample %+v, want %+v", got, want)
	}
	quieter := good()
	quieter.all = 40 * time.Millisecond
	if got := quieter.sample().others; got != 0 {
		t.Errorf("others used %v cores", got)
	}
	for name, c := range map[string]struct {
		spoil func(*round)
		want  string
	}{
		"connect error":     {func(r *round) { r.wrk.Connect = 1 }, "1 connect"},
		"read error":        {func(r *round) { r.wrk.Read = 1 }, "1 read"},
		"write error":       {func(r *round) { r.wrk.Write = 1 }, "1 write"},
		"wrong status":      {func(r *round) { r.wrk.Status = 1 }, "1 wrong statuses"},
		"timeout":           {func(r *round) { r.wrk.Timeout = 1 }, "1 timeouts"},
		"nothing":           {func(r *round) { r.wrk.Requests = 0 }, "answered nothing"},
		"answered by cache": {func(r *round) { r.after.Requests = 5999 }, "answered 999 of 1000"},
		"no keep-alive":     {func(r *round) { r.after.Accepts = 10 + 1 + 129 }, "not kept alive"},
		"wrong processes":   {func(r *round) { r.cpu = 999 * time.Microsecond }, "wrong processes"},
	} {
		r := good()
		c.spoil(r)
		if err := r.check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func serve(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestCheckAnswers(t *testing.T) {
	t.Parallel()
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
	}
	origin := serve(t, text("the origin's"))
	sc := &scenario{name: "x", method: "POST", path: "/x", body: 3}
	asked := make(chan string, 1)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"same": {func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			asked <- fmt.Sprintf("%s %s %s", r.Method, r.URL, body)
			text("the origin's")(w, r)
		}, ""},
		"other body":   {text("another's"), "hands on 9 bytes"},
		"other status": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, "status 502"},
		"redirect":     {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://"+origin, http.StatusFound) }, "status 302"},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "12")
			_, _ = io.WriteString(w, "the ")
		}, "after 4 bytes"},
	} {
		st := &stand{origin: &subject{address: origin}}
		err := st.checkAnswers(context.Background(), []*subject{{name: name, address: serve(t, c.answer)}}, sc)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if got := <-asked; got != "POST /x xxx" {
		t.Errorf("asked %q", got)
	}
	gone := httptest.NewServer(text(""))
	gone.Close()
	st := &stand{origin: &subject{address: strings.TrimPrefix(gone.URL, "http://")}}
	if err := st.checkAnswers(context.Background(), nil, sc); err == nil {
		t.Error("an origin that is not there was accepted")
	}
}

func TestOriginCounts(t *testing.T) {
	t.Parallel()
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stats" {
			_, _ = io.WriteString(w, `{"accepts":3,"open":1,"requests":7}`)
		}
	})
	if got, err := originCounts(context.Background(), address); err != nil || got != (counts{Accepts: 3, Requests: 7}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := originCounts(context.Background(), serve(t, func(http.ResponseWriter, *http.Request) {})); err == nil {
		t.Error("no counts were accepted")
	}
}
