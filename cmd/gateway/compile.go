package main

import (
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/login"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/snapshot"
	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/plugins"
)

// compiled is a snapshot that serves nothing, for the commands that look at one.
type compiled struct{ *snapshot.Snapshot }

// closed is the connections of an endpoint that nobody calls.
type closed struct{}

// Close does nothing: nothing was opened.
func (closed) Close() {}

// Count is none.
func (closed) Count() (open, idle int) { return 0, 0 }

// compile compiles cfg as serve would, without a socket.
func compile(cfg *config.Config) (*compiled, error) {
	services := upstream.NewRegistry(func(upstream.Key) upstream.Connections { return closed{} })
	set := meter.NewSet(time.Now)
	s, err := snapshot.Compile(cfg, snapshot.Parts{
		Plugins:  plugins.All(),
		Deps:     plugin.Deps{Meter: set, Clock: clock.Real(), Log: zerolog.Nop(), Keeper: plugin.NewKeeper(zerolog.Nop())},
		Services: services, Meter: set,
		BuiltIns: append(publicProbes(cfg, &admin.Probes{}), declaredLogin(cfg)...),
	})
	if err != nil {
		return nil, err
	}
	return &compiled{s}, nil
}

// declaredLogin are the routes of logins as they will stand in the table of cfg: a
// route that overlaps them is refused before anything starts (SECURITY I20). Nobody
// calls their answers.
func declaredLogin(cfg *config.Config) []snapshot.BuiltIn {
	if cfg.Identity == nil {
		return nil
	}
	return loginRoutes(new(login.Login))
}

// compileOrRefuse is compile for commands that can't go on without.
func compileOrRefuse(c *cobra.Command, cfg *config.Config) (*compiled, error) {
	s, err := compile(cfg)
	if err != nil {
		fmt.Fprintln(c.ErrOrStderr(), err)
		return nil, refused{exitRefused}
	}
	return s, nil
}

func (c *compiled) close() error { return c.Snapshot.Close() }
