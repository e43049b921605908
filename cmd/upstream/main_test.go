package main

import (
	"context"
	"net"
	"strings"
	"testing"
)

func TestListenFlag(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		flags []string
		want  string // the list, or a part of the error
		bad   bool
	}{
		"one":               {[]string{"vod=127.0.0.1:1"}, "vod=127.0.0.1:1", false},
		"two of a service":  {[]string{"vod=127.0.0.1:1", "vod=127.0.0.1:2"}, "vod=127.0.0.1:1,vod=127.0.0.1:2", false},
		"free ports":        {[]string{"vod=127.0.0.1:0", "vod=127.0.0.1:0"}, "vod=127.0.0.1:0,vod=127.0.0.1:0", false},
		"IPv6":              {[]string{"content=[::1]:8080"}, "content=[::1]:8080", false},
		"no service":        {[]string{"127.0.0.1:1"}, "want SERVICE=HOST:PORT", true},
		"unknown service":   {[]string{"billing=127.0.0.1:1"}, `unknown service "billing"`, true},
		"no port":           {[]string{"vod=127.0.0.1"}, "missing port", true},
		"port out of range": {[]string{"vod=127.0.0.1:70000"}, "invalid port", true},
		"address twice":     {[]string{"vod=127.0.0.1:1", "content=127.0.0.1:1"}, "already the address of an endpoint of vod", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l listenList
			var err error
			for _, flag := range c.flags {
				if err = l.Set(flag); err != nil {
					break
				}
			}
			switch {
			case c.bad && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %q", err, c.want)
			case !c.bad && (err != nil || l.String() != c.want):
				t.Errorf("got %s (%v), want %s", l.String(), err, c.want)
			}
		})
	}
}

func TestDefaultsAreTheSixServices(t *testing.T) {
	t.Parallel()
	l := defaultListens()
	want := "identity=127.0.0.1:9001,content=127.0.0.1:9002,commerce=127.0.0.1:9003," +
		"payments=127.0.0.1:9004,live-classes=127.0.0.1:9005,vod=127.0.0.1:9006"
	if l.String() != want {
		t.Errorf("got %s", l.String())
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	cases := map[string]struct {
		args     []string
		code     int
		out, err string // what must be printed
	}{
		"help":          {[]string{"--help"}, exitClean, "curl -i http://127.0.0.1:9001/identity/echo", ""},
		"unknown flag":  {[]string{"-port=1"}, exitUsage, "", "upstream -help"},
		"bad listen":    {[]string{"-listen", "x"}, exitUsage, "", "SERVICE=HOST:PORT"},
		"argument":      {[]string{"serve"}, exitUsage, "", `unexpected argument "serve"`},
		"address taken": {[]string{"-listen", "vod=127.0.0.1:0", "-listen", "vod=" + taken.Addr().String()}, exitFault, "", "listen for vod"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errOut strings.Builder
			if code := run(context.Background(), c.args, &out, &errOut); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !strings.Contains(out.String(), c.out) || !strings.Contains(errOut.String(), c.err) {
				t.Errorf("printed %q and %q, want %q and %q", out.String(), errOut.String(), c.out, c.err)
			}
		})
	}
}

// An endpoint that fails by itself ends the process, with the reason.
func TestFailingEndpointEndsTheProcess(t *testing.T) {
	t.Parallel()
	ends, err := listenAll([]listen{{"vod", "127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ends[0].listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ends[0].serve(); err == nil {
		t.Error("serving on a closed listener reported nothing")
	}
}
