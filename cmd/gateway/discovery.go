package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/discovery"
	"github.com/suuupra/gateway/core/discovery/consul"
	"github.com/suuupra/gateway/core/discovery/dns"
	"github.com/suuupra/gateway/core/meter"
)

// finding is who finds endpoints that the configuration does not declare. Where Consul
// and name servers are is decided at the start.
type finding struct {
	*discovery.Finder
	consul *consul.Source // nil: nobody asks it
}

// findingParts are what openFinding joins.
type findingParts struct {
	barred func(netip.AddrPort) bool
	meter  *meter.Set
	log    zerolog.Logger
}

// openFinding joins who finds endpoints. Nobody is asked before the first watch.
func openFinding(cfg *config.Config, p findingParts) (*finding, error) {
	d := cfg.Discovery
	f := new(finding)
	sources := map[string]discovery.Source{
		dns.Name: dns.New(dns.Options{Servers: d.DNS.Servers(), MinimumTTL: time.Duration(d.DNS.MinimumTTL)}),
	}
	if d.Consul != nil {
		secure, err := clientTLS(d.Consul.TLS)
		if err == nil {
			f.consul, err = consul.New(consul.Options{
				Address: d.Consul.Address, Token: consulToken(cfg), Datacenter: d.Consul.Datacenter, TLS: secure,
			})
		}
		if err != nil {
			return nil, fmt.Errorf("discovery.consul: %w", err)
		}
		sources[consul.Name] = f.consul
	}
	f.Finder = discovery.New(discovery.Options{
		Sources: sources, Directory: cfg.Directory, Barred: p.barred, Clock: clock.Real(), Meter: p.meter, Log: p.log,
	})
	return f, nil
}

// consulToken is the token of the ACL; files end with a line.
func consulToken(cfg *config.Config) string {
	if cfg.Discovery.Consul == nil {
		return ""
	}
	return strings.TrimSpace(cfg.Discovery.Consul.Token.Reveal())
}

// renew takes over what changes without a start: tokens expire.
func (f *finding) renew(cfg *config.Config) {
	if f.consul != nil {
		f.consul.SetToken(consulToken(cfg))
	}
}

// close closes what is idle, of nil nothing. Its watches have ended with the services that held them.
func (f *finding) close() {
	if f != nil && f.consul != nil {
		f.consul.Close()
	}
}
