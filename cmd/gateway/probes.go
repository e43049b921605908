package main

import (
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/gateway"
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

// checks asks those that can be ill: the certificates. An endpoint that fails shows
// in its answers, not here.
func checks(g *gateway.Gateway) func() admin.Checks {
	return func() admin.Checks {
		return admin.Checks{Redis: true, Database: true, Services: true, Certificates: g.CertificatesWell()}
	}
}
