package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/wire"
)

// explanation is what `gateway explain` says.
type explanation struct {
	Host      string            `json:"host"`
	Path      string            `json:"path"`
	Route     string            `json:"route"`
	At        string            `json:"at,omitempty"`
	Answer    string            `json:"answer,omitempty"`
	Target    string            `json:"target,omitempty"`
	Endpoints []string          `json:"endpoints,omitempty"`
	Hooks     []hookRow         `json:"hooks"`
	Params    map[string]string `json:"parameters,omitempty"`
	Routes    []router.Step     `json:"routes"`
}

// hookRow is one hook that the request runs.
type hookRow struct {
	Phase  string `json:"phase"`
	Plugin string `json:"plugin"`
	At     string `json:"at"`
}

func newExplain() *cobra.Command {
	var from source
	var fields []string
	var listener string
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "Say which route takes a request, and why the others do not",
		Example: "  gateway explain GET http://api.example.com/content/1?lang=en -c gateway.yaml\n" +
			"  gateway explain POST /payments/charge -H 'X-Version: 2.1' -c gateway.yaml",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := from.load(c.ErrOrStderr())
			if err != nil {
				return err
			}
			x, err := exchangeFor(args[0], args[1], fields)
			if err != nil {
				return err
			}
			x.Peer.Listener = listener
			e, err := explain(cfg, x)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(e)
			}
			return e.print(c.OutOrStdout())
		},
	}
	from.lookingFlags(c)
	c.Flags().StringArrayVarP(&fields, "header", "H", nil, "header `field` of the request, 'Name: value'")
	c.Flags().StringVar(&listener, "listener", "public", "`name` of the listener that the request comes to")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// exchangeFor makes the exchange of a request as it would come over the wire.
func exchangeFor(method, target string, fields []string) (*pipeline.Exchange, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("%q is no URL: %w", target, err)
	}
	if u.Host != "" { // keep the path's escapes as they were typed
		_, target, _ = strings.Cut(target, "://")
		target = target[strings.IndexAny(target+"/", "/?"):]
	}
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	request := &fasthttp.Request{}
	request.Header.SetMethod(method)
	request.Header.SetRequestURI(target)
	request.Header.SetHost(u.Host)
	for _, field := range fields {
		name, value, found := strings.Cut(field, ":")
		if !found {
			return nil, fmt.Errorf("-H %q: want 'Name: value'", field)
		}
		request.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	x := pipeline.NewFactory(func(*pipeline.Exchange) {}).New()
	x.Request, x.Response, x.Head = request, &fasthttp.Response{}, &wire.RequestHead{}
	return x, nil
}

// explain walks x as far as its route is known.
func explain(cfg *config.Config, x *pipeline.Exchange) (*explanation, error) {
	s, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	x.Route = s.None
	if host := x.Request.Header.Host(); len(host) > 0 {
		if err := x.SetHost(host); err != nil {
			return nil, fmt.Errorf("the host %q would be refused with 400: %w", host, err)
		}
	}
	if err := x.SetTarget(s.Path); err != nil {
		return nil, fmt.Errorf("the path would be refused with 400: %w", err)
	}
	outcome := s.Match(x)
	r := x.Route
	e := &explanation{Host: string(x.Host), Path: string(x.Path), Route: r.Name, At: r.At, Routes: s.Explain(x), Hooks: hookRows(r), Params: map[string]string{}}
	for i := range x.Params.Len() {
		name, value := x.Params.At(i)
		e.Params[name] = string(value)
	}
	if x.Preflight {
		e.Answer = "CORS preflight: the guards of this route"
		return e, s.close()
	}
	if r == s.None {
		e.Answer = outcome.String()
		return e, s.close()
	}
	e.Answer = answerOf(r)
	if r.Service != nil {
		target, err := x.Target()
		if err != nil {
			return nil, fmt.Errorf("the rewritten path would be refused with 400: %w", err)
		}
		e.Target = string(target)
		for _, endpoint := range r.Service.Endpoints() {
			e.Endpoints = append(e.Endpoints, endpoint.Address)
		}
	}
	return e, s.close()
}

func hookRows(r *pipeline.Route) []hookRow {
	rows := []hookRow{}
	for p := pipeline.Phase(0); p < pipeline.Phases; p++ {
		for _, named := range r.Chain.Named() {
			if named.Hooks[p] != nil {
				rows = append(rows, hookRow{p.String(), named.Plugin, named.At})
			}
		}
	}
	return rows
}

func (e *explanation) print(w io.Writer) error {
	fmt.Fprintf(w, "host:    %s\npath:    %s\nroute:   %s  (%s)\nanswer:  %s\n", e.Host, e.Path, e.Route, e.At, e.Answer)
	if e.Target != "" {
		fmt.Fprintf(w, "target:  %s\nendpoints: %s\n", e.Target, strings.Join(e.Endpoints, ", "))
	}
	fmt.Fprintln(w, "hooks:")
	for _, h := range e.Hooks {
		fmt.Fprintf(w, "  %-13s%-18s%s\n", h.Phase, h.Plugin, h.At)
	}
	_, err := fmt.Fprintln(w, "routes, in match order:")
	for _, s := range e.Routes {
		mark := "-"
		if s.Matched {
			mark = "*"
		}
		_, err = fmt.Fprintf(w, "  %s %s (%s): %s\n", mark, s.Name, s.At, s.Why)
	}
	return err
}
