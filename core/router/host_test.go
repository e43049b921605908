package router

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"example.org":           "example.org",
		"API.Example.ORG":       "api.example.org",
		"localhost":             "localhost",
		"my_host-1":             "my_host-1",
		"127.0.0.1":             "127.0.0.1",
		"[::1]":                 "[::1]",
		"[2001:DB8:0:0::1]":     "[2001:db8::1]",
		"*.example.org":         "*.example.org",
		"*.COM":                 "*.com",
		"{tenant}.Example.org":  "{tenant}.example.org",
		"xn--bcher-kva.example": "xn--bcher-kva.example",
	} {
		h, err := ParseHost(in)
		if err != nil || h.String() != want {
			t.Errorf("%s became %s, %v", in, h, err)
		}
		again, err := ParseHost(h.String())
		if err != nil || again != h {
			t.Errorf("%s became %v, %v", h, again, err)
		}
	}
	h, err := ParseHost("{tenant}.example.org")
	if err != nil || !slices.Equal(h.Names(), []string{"host.tenant"}) {
		t.Errorf("names are %v, %v", h.Names(), err)
	}
	if h, err = ParseHost("*.example.org"); err != nil || h.Names() != nil {
		t.Errorf("names are %v, %v", h.Names(), err)
	}
}

func TestParseHostErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct {
		offset int
		reason string
	}{
		"":                        {0, "empty host"},
		"*":                       {0, "leave hosts out"},
		"*.":                      {2, "empty label"},
		"*x.org":                  {0, "whole first label"},
		"a.*.org":                 {2, "whole first label"},
		"a.{t}.org":               {2, "whole first label"},
		"{t}":                     {3, "first label"},
		"{t}x.org":                {3, "first label"},
		"{t":                      {0, "without its }"},
		"{}.x":                    {0, "needs a name"},
		"{1}.x":                   {0, "needs a name"},
		"{a.b}.x":                 {0, "needs a name"},
		"{é}.x":                   {0, "needs a name"},
		".example.org":            {0, "empty label"},
		"a..b":                    {2, "empty label"},
		"example.org.":            {12, "empty label"},
		"example.org:8080":        {11, "without its port"},
		"bücher.example":          {1, "xn--"},
		"a b":                     {1, "letters, digits"},
		"user@host":               {4, "letters, digits"},
		"[::1":                    {3, "[address]"},
		"[::1]:80":                {7, "[address]"},
		"[1.2.3.4]":               {1, "not an IPv6"},
		"[fe80::1%eth0]":          {1, "not an IPv6"},
		"[x]":                     {1, "not an IPv6"},
		strings.Repeat("a", 64):   {0, "63 bytes"},
		strings.Repeat("a.", 127): {253, "253 bytes"},
	} {
		_, err := ParseHost(in)
		var p *PatternError
		if !errors.As(err, &p) {
			t.Errorf("%s: no error, want %q", in, want.reason)
			continue
		}
		if p.Offset != want.offset || !strings.Contains(p.Reason, want.reason) {
			t.Errorf("%s: got %d %q, want %d %q", in, p.Offset, p.Reason, want.offset, want.reason)
		}
	}
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.example", "*.a", "{t}.a", "[::1]", "", "*", "{", "a..b", "[", "A:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHost(s)
		if err != nil {
			var e *PatternError
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(s) || e.Reason == "" {
				t.Fatalf("%q: %#v", s, err)
			}
			return
		}
		if again, err := ParseHost(h.String()); err != nil || again != h {
			t.Fatalf("%q became %q, which became %q, %v", s, h, again, err)
		}
		if h.kind == hostExact && !h.matches([]byte(h.name)) {
			t.Fatalf("%q does not fit itself", h)
		}
	})
}
