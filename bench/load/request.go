package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
)

// destination is where the URL of the command line points to.
type destination struct {
	host    string // the Host field
	address string // host:port to connect to
	target  string // path and query
}

func parseURL(text string) (destination, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return destination{}, err
	case u.Scheme != "http":
		return destination{}, fmt.Errorf("url %q: only http:// is spoken", text)
	case u.Host == "":
		return destination{}, fmt.Errorf("url %q: no host", text)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return destination{host: u.Host, address: net.JoinHostPort(u.Hostname(), port), target: u.RequestURI()}, nil
}

// fields collects the -header flags; it is a flag.Value.
type fields []string

// String lists the field lines, with commas.
func (f *fields) String() string { return strings.Join(*f, ", ") }

// Set adds one "Name: value" line. Fields that the generator itself sends are
// refused.
func (f *fields) Set(line string) error {
	name, value, ok := strings.Cut(line, ":")
	switch {
	case !ok || name == "" || strings.ContainsAny(line, "\r\n"):
		return errors.New("want NAME: VALUE")
	case slices.Contains([]string{"host", "content-length", "transfer-encoding", "connection", "expect"}, strings.ToLower(name)):
		return fmt.Errorf("%s is the generator's own", name)
	}
	*f = append(*f, name+": "+strings.TrimSpace(value))
	return nil
}

// readBody returns the request body that -body asks for: the text itself, or
// the content of a file named with a leading @.
func readBody(text string) ([]byte, error) {
	name, file := strings.CutPrefix(text, "@")
	if !file {
		return []byte(text), nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	return b, nil
}

// buildRequest writes out the request. Content-Length is sent with a body, and
// with the methods that are expected to have one (RFC 9110 §8.6).
func buildRequest(method string, d destination, lines fields, body []byte) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, d.target, d.host)
	for _, line := range lines {
		b = append(append(b, line...), "\r\n"...)
	}
	if len(body) > 0 || slices.Contains([]string{"POST", "PUT", "PATCH"}, method) {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", len(body))
	}
	b = append(b, "\r\n"...)
	return append(b, body...)
}
