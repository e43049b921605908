package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/gateway"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/router"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/wire"
)

// explanation is what `gateway explain` says.
type explanation struct {
	Host      string            `json:"host"`
	Path      string            `json:"path"`
	Route     string            `json:"route"`
	At        string            `json:"at,omitempty"`
	Answer    string            `json:"answer,omitempty"`
	Pins      []string          `json:"pins,omitempty"`
	Mirror    string            `json:"mirror,omitempty"`
	Target    string            `json:"target,omitempty"`
	Endpoints []string          `json:"endpoints,omitempty"`
	Hooks     []hookRow         `json:"hooks"`
	Notes     []noteRow         `json:"notes,omitempty"`
	Params    map[string]string `json:"parameters,omitempty"`
	Routes    []router.Step     `json:"routes"`
}

// hookRow is one hook that the request runs.
type hookRow struct {
	Phase  string `json:"phase"`
	Plugin string `json:"plugin"`
	At     string `json:"at"`
}

// noteRow is what a plugin says of itself on the route.
type noteRow struct {
	Plugin string `json:"plugin"`
	Text   string `json:"text"`
}

func newExplain() *cobra.Command {
	var from source
	var fields []string
	var listener string
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "Say which route takes a request, and why the others do not",
		Long: "Reads a request as a listener would, and says which route takes it, what it is answered, which hooks run,\n" +
			"and why the other routes do not take it. Sends nothing. Exits 1 if the request is refused before any route\n" +
			"is asked: it is malformed, or its path or host is.",
		Example: "  gateway explain GET http://api.example.com/content/1?lang=en -c gateway.yaml\n" +
			"  gateway explain POST /payments/charge -H 'X-Version: 2.1' -c gateway.yaml",
		Args: func(_ *cobra.Command, words []string) error {
			if len(words) != 2 {
				return fmt.Errorf("want two words, METHOD and URL, got %d", len(words))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			cfg, _, err := from.load(c.ErrOrStderr())
			if err != nil {
				return err
			}
			head, err := requestHead(args[0], args[1], fields)
			if err != nil {
				return misused{err}
			}
			e, err := explain(c, cfg, asked{head, listener})
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

// asked is what is to be explained: a head as it would come over the wire, to a
// listener.
type asked struct {
	head     string
	listener string
}

// requestHead writes the head of a request. A target without a host is one of
// HTTP/1.0, which needs none, unless fields name it.
func requestHead(method, target string, fields []string) (string, error) {
	host, version := "", "1.0"
	if scheme, rest, found := strings.Cut(target, "://"); found && scheme != "" && !strings.ContainsAny(scheme, "/?") {
		if scheme != "http" && scheme != "https" {
			return "", fmt.Errorf("%q: want an http or https URL, or a path", target)
		}
		rest, _, _ = strings.Cut(rest, "#") // no client sends it
		end := strings.IndexAny(rest+"/", "/?")
		host, target, version = "Host: "+rest[:end]+"\r\n", rest[end:], "1.1"
	}
	if !strings.HasPrefix(target, "/") && target != "*" {
		target = "/" + target
	}
	head := method + " " + target + " HTTP/"
	lines := host
	for _, field := range fields {
		name, _, found := strings.Cut(field, ":")
		if !found {
			return "", fmt.Errorf("-H %q: want 'Name: value'", field)
		}
		if strings.EqualFold(strings.TrimSpace(name), fasthttp.HeaderHost) {
			version = "1.1"
		}
		lines += field + "\r\n"
	}
	if strings.ContainsAny(method+target+strings.Join(fields, ""), "\r\n") {
		return "", fmt.Errorf("a line break can't be part of a method, URL or field")
	}
	return head + version + "\r\n" + lines + "\r\n", nil
}

// exchangeOf makes the exchange of a request as the listener's scanner and
// fasthttp would. The error says why it is refused.
func exchangeOf(cfg *config.Config, r asked) (*pipeline.Exchange, error) {
	limits := gateway.HeadLimits(cfg)
	var scanner wire.RequestScanner
	scanner.Reset(&limits)
	if _, err := scanner.Scan([]byte(r.head)); err != nil {
		return nil, err
	}
	parsed := &fasthttp.Request{}
	if err := parsed.Header.Read(bufio.NewReaderSize(strings.NewReader(r.head), len(r.head)+1)); err != nil {
		return nil, err
	}
	x := pipeline.NewFactory(func(*pipeline.Exchange) {}).New()
	x.Request, x.Response, x.Head = parsed, &fasthttp.Response{}, scanner.Head()
	x.Peer.Listener = r.listener
	return x, nil
}

// explain walks r as far as its route is known.
func explain(c *cobra.Command, cfg *config.Config, r asked) (*explanation, error) {
	s, err := compileOrRefuse(c, cfg)
	if err != nil {
		return nil, err
	}
	e, err := walk(s, cfg, r)
	if err := s.close(); err != nil {
		return nil, err
	}
	if err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "the request is refused with %s\n", reason(err))
		return nil, refused{exitRefused}
	}
	return e, nil
}

// reason is what the caller of a refused request is told.
func reason(err error) string {
	if v := new(wire.Violation); errors.As(err, &v) {
		return fmt.Sprintf("%d: %s", v.Status, v.Reason)
	}
	return "400: " + err.Error()
}

// walk does what gateway.decide does. The error says why the request is refused
// before any route is asked.
func walk(s *compiled, cfg *config.Config, r asked) (*explanation, error) {
	x, err := exchangeOf(cfg, r)
	if err != nil {
		return nil, err
	}
	x.Route = s.None
	if err := x.SetHost(x.Request.Header.Host()); err != nil {
		return nil, err
	}
	if gateway.Pathless(x) {
		answer := snapshot.MethodNotAllowed.String()
		if x.Head.Asterisk {
			answer = "204, Allow: every method"
		}
		return &explanation{Host: string(x.Host), Route: s.None.Name, Answer: answer, Hooks: hookRows(s.None), Notes: noteRows(s.None), Routes: []router.Step{}}, nil
	}
	if err := x.SetTarget(s.Path); err != nil {
		return nil, err
	}
	return describe(s, x)
}

// describe finds the route of x and says what becomes of it.
func describe(s *compiled, x *pipeline.Exchange) (*explanation, error) {
	outcome := s.Match(x)
	r := x.Route
	e := &explanation{Host: string(x.Host), Path: string(x.Path), Route: r.Name, At: r.At, Routes: s.Explain(x), Hooks: hookRows(r), Notes: noteRows(r), Params: map[string]string{}}
	for i := range x.Params.Len() {
		name, value := x.Params.At(i)
		e.Params[name] = string(value)
	}
	switch {
	case x.Preflight:
		e.Answer = "CORS preflight: the guards of this route"
	case outcome == snapshot.MethodNotAllowed && string(x.Request.Header.Method()) == fasthttp.MethodOptions:
		e.Answer = "204, Allow: " + string(s.Allow(nil, x))
	case outcome == snapshot.MethodNotAllowed:
		e.Answer = outcome.String() + ", Allow: " + string(s.Allow(nil, x))
	case outcome != snapshot.Matched:
		e.Answer = outcome.String()
	default:
		e.Answer = admin.Answer(r)
	}
	if len(r.Destinations) == 0 {
		return e, nil
	}
	target, err := x.Target()
	if err != nil {
		return nil, err
	}
	e.Target = string(target)
	e.Pins, e.Mirror = admin.Pins(r), admin.Mirrored(r)
	for _, to := range r.Services() {
		for _, endpoint := range to.Members() {
			address := endpoint.Address
			if r.Split != nil {
				address += " (" + to.Name + ")"
			}
			e.Endpoints = append(e.Endpoints, address)
		}
	}
	return e, nil
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

func noteRows(r *pipeline.Route) []noteRow {
	var rows []noteRow
	for _, named := range r.Chain.Named() {
		for _, text := range named.Notes {
			rows = append(rows, noteRow{named.Plugin, text})
		}
	}
	return rows
}

func (e *explanation) print(w io.Writer) error {
	at := ""
	if e.At != "" {
		at = "  (" + e.At + ")"
	}
	fmt.Fprintf(w, "host:      %s\npath:      %s\nroute:     %s%s\nanswer:    %s\n", orDash(e.Host), orDash(e.Path), e.Route, at, e.Answer)
	for _, pin := range e.Pins {
		fmt.Fprintf(w, "pin:       %s\n", pin)
	}
	if e.Mirror != "" {
		fmt.Fprintf(w, "mirror:    %s\n", e.Mirror)
	}
	if e.Target != "" {
		fmt.Fprintf(w, "target:    %s\nendpoints: %s\n", e.Target, strings.Join(e.Endpoints, ", "))
	}
	fmt.Fprintln(w, "hooks:")
	for _, h := range e.Hooks {
		fmt.Fprintf(w, "  %-13s%-18s%s\n", h.Phase, h.Plugin, h.At)
	}
	if len(e.Notes) > 0 {
		fmt.Fprintln(w, "notes:")
	}
	for _, n := range e.Notes {
		fmt.Fprintf(w, "  %-13s%s\n", n.Plugin, n.Text)
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

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
