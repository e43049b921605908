package main

import (
	"context"
	"errors"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/snapshot"
)

// publicProbes are the probes that the public listeners answer as well. They are
// routes of the same table as all others.
func publicProbes(cfg *config.Config, p *admin.Probes) []snapshot.BuiltIn {
	var out []snapshot.BuiltIn
	for _, path := range cfg.Probes.Public {
		out = append(out, snapshot.BuiltIn{
			Name:  "probe " + path,
			Match: router.Match{Paths: []string{path}, Methods: []string{fasthttp.MethodGet}},
			Answer: func(x *pipeline.Exchange) pipeline.Verdict {
				if err := p.Answer(path, x.Response); err != nil {
					return x.FailBy(fault.Internal, err)
				}
				return pipeline.Respond
			},
		})
	}
	return out
}

// probes answer as cfg says.
func (p *program) probes(cfg *config.Config) *admin.Probes {
	return &admin.Probes{Ready: p.ready, Checks: p.checks, DegradedStatus: cfg.Probes.DegradedStatus, Now: time.Now}
}

// ready says why the gateway should get no traffic, or nil. A public listener may
// ask while start has not ended yet.
func (p *program) ready() error {
	if p.inForce.Load() == nil {
		return errors.New("starting")
	}
	return p.gateway.Ready()
}

// builtIns are the routes that the program brings along under cfg.
func (p *program) builtIns(cfg *config.Config) []snapshot.BuiltIn {
	return append(publicProbes(cfg, p.probes(cfg)), p.identity.routes()...)
}

// checks asks those that can be ill: the stores, the certificates, who finds endpoints,
// and services. A service is, when each of its endpoints is unhealthy.
func (p *program) checks() admin.Checks {
	starting := p.inForce.Load() == nil
	certificates, services := starting || p.gateway.CertificatesWell(), starting || p.gateway.ServicesWell()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	redis, database := p.identity.healthy(ctx)
	return admin.Checks{Redis: redis, Database: database, Services: services, Certificates: certificates, Discovery: p.finding.Healthy()}
}
