package token

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// What one fetch of a key set may take (SECURITY I2).
const (
	fetchTimeout = 2 * time.Second
	fetchBytes   = 512 << 10
)

// fetcher fetches the key set of one issuer. It goes where it was configured to go,
// and nowhere else: the answer decides who may call, and the request comes from
// inside the network.
type fetcher struct {
	url    string
	client *http.Client
}

// newFetcher checks the address of a key set.
func newFetcher(f Foreign) (*fetcher, error) {
	u, err := url.Parse(f.KeySetURL)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("the key set's URL is none, or has a user or a fragment")
	}
	ip, err := netip.ParseAddr(u.Hostname())
	literal := err == nil
	switch {
	case u.Scheme == "http" && f.Private && (literal && ip.Unmap().IsLoopback() || u.Hostname() == "localhost"):
	case u.Scheme != "https":
		return nil, errors.New("the key set's URL must be https; http is for this machine alone, with private: true")
	case literal && !f.Private && !isPublic(ip):
		return nil, fmt.Errorf("the key set is at the private address %s, which wants private: true", ip)
	}
	dialer := net.Dialer{Timeout: fetchTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		return mayDial(address, u.Scheme == "http", f.Private)
	}}
	return &fetcher{url: u.String(), client: &http.Client{
		Transport: &http.Transport{ // no Proxy: the environment must not decide where keys come from
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: f.Roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// mayDial looks at the address that is about to be dialled, after its name was
// resolved: looking at the name, or resolving it a first time to look, is what DNS
// rebinding gets around.
func mayDial(address string, loopback, private bool) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dialling the key set's server: %w", err)
	}
	switch ip := to.Addr().Unmap(); {
	case loopback && !ip.IsLoopback():
		return fmt.Errorf("the key set's server is at %s, which is not this machine", ip)
	case !private && !isPublic(ip):
		return fmt.Errorf("the key set's server is at the private address %s, which wants private: true", ip)
	}
	return nil
}

// isPublic says whether an address can belong to a stranger's server on the
// Internet (RFC 6890).
func isPublic(ip netip.Addr) bool {
	ip = ip.Unmap()
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	for _, special := range [...]string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
	} {
		if netip.MustParsePrefix(special).Contains(ip) {
			return false
		}
	}
	return true
}

// fetch returns the answer's body. Only 200 is an answer: redirects are not followed.
func (f *fetcher) fetch(ctx context.Context) (body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return "", fmt.Errorf("fetching the key set: %w", err)
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "suuupra-gateway")
	response, err := f.client.Do(request)
	if err != nil {
		return "", fmt.Errorf("fetching the key set: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // nothing more is read
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("fetching the key set: %s was answered with status %d", f.url, response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, fetchBytes+1))
	if err != nil {
		return "", fmt.Errorf("fetching the key set: %w", err)
	}
	if len(text) > fetchBytes {
		return "", fmt.Errorf("fetching the key set: the answer is larger than %d bytes", fetchBytes)
	}
	return string(text), nil
}
