package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/setting"
)

// operator is what every command takes that asks a running gateway.
type operator struct {
	from      source
	address   string
	tokenFile string
}

func (o *operator) flags(c *cobra.Command) {
	o.from.flags(c)
	c.Flags().StringVar(&o.address, "address", "", "`host:port` of the admin listener, in place of admin.address")
	c.Flags().StringVar(&o.tokenFile, "token-file", "", "`file` with an admin token, in place of admin.tokens and the one in directory")
}

// errNowhere says that nobody could be asked.
var errNowhere = errors.New("the files don't tell where the running gateway listens, so it was not asked; give --address")

// find says where the admin listener is and which tokens it may take, those
// first that may write. The files may hold mistakes: a reload is asked for just
// when they do.
func (o *operator) find() (address string, tokens []setting.Secret, err error) {
	if o.tokenFile != "" {
		token, err := admin.ReadTokenFile(o.tokenFile)
		if err != nil || o.address != "" {
			return o.address, []setting.Secret{token}, err
		}
		tokens = append(tokens, token)
	}
	found, directory, ok := config.Operators(o.from.options(newObserved()))
	if !ok && o.address == "" {
		return "", nil, errNowhere
	}
	address = o.address
	if address == "" {
		address = found.Address
	}
	if tokens == nil {
		tokens, err = candidates(found.Tokens, directory)
	}
	return address, tokens, err
}

// candidates are the tokens that a gateway with such a configuration takes. Which
// of them one that runs knows, its last reload has settled.
func candidates(declared []*config.AdminToken, directory string) (tokens []setting.Secret, err error) {
	for _, role := range []string{config.RoleWrite, config.RoleRead} {
		for _, t := range declared {
			if t.Role == role && !t.Token.IsZero() {
				tokens = append(tokens, t.Token)
			}
		}
	}
	own, err := admin.ReadTokenFile(admin.TokenPath(directory))
	if err == nil {
		return append(tokens, own), nil
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("there is no admin token to show: admin.tokens names none that can be read here, and neither can the gateway's own: %w", err)
	}
	return tokens, nil
}

// askTimeout is the time for one answer: a reload of a large configuration takes
// seconds, and may have to wait for another one.
const askTimeout = 2 * time.Minute

// ask sends a request to the admin listener and returns what it answers. A token
// that it does not take is followed by the next.
func (o *operator) ask(method, path string) (*fasthttp.Response, error) {
	return o.askWithin(method, path, askTimeout)
}

// askWithin is ask for those who wait no longer than within for each answer.
func (o *operator) askWithin(method, path string, within time.Duration) (resp *fasthttp.Response, err error) {
	address, tokens, err := o.find()
	if err != nil {
		return nil, err
	}
	client := &fasthttp.HostClient{Addr: address, NoDefaultUserAgentHeader: true, MaxIdemponentCallAttempts: 1}
	defer client.CloseIdleConnections()
	for _, token := range tokens {
		var req fasthttp.Request
		resp = &fasthttp.Response{}
		req.Header.SetMethod(method)
		req.SetRequestURI("http://" + address + path)
		req.Header.Set(fasthttp.HeaderAuthorization, "Bearer "+token.Reveal())
		req.Header.SetContentType("application/json")
		if err := client.DoTimeout(&req, resp, within); err != nil {
			return nil, fmt.Errorf("asking the gateway at %s: %w; give --address if admin.address has changed since it was started", address, err)
		}
		if status := resp.StatusCode(); status != fasthttp.StatusUnauthorized && status != fasthttp.StatusForbidden {
			return resp, nil
		}
	}
	return resp, nil
}

// declined reports that the admin listener did not do what it was asked for.
func declined(c *cobra.Command, resp *fasthttp.Response) error {
	fmt.Fprintf(c.ErrOrStderr(), "gateway: %v\n", refusal(resp))
	return refused{exitRefused}
}

// refusal says why the admin listener did not do what it was asked for.
func refusal(resp *fasthttp.Response) error {
	var problem struct{ Title, Detail string }
	if json.Unmarshal(resp.Body(), &problem) != nil || problem.Title == "" {
		return fmt.Errorf("the gateway answered with status %d, which is not how a gateway of this version answers", resp.StatusCode())
	}
	text := fmt.Sprintf("the gateway answered %d %s", resp.StatusCode(), problem.Title)
	if problem.Detail != "" {
		text += ": " + problem.Detail
	}
	if resp.StatusCode() == fasthttp.StatusUnauthorized {
		text += "; if its tokens have just been changed, send it SIGHUP once, or give --token-file with one that it knows"
	}
	return errors.New(text)
}
