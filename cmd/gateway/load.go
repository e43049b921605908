package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/plugins"
)

// source is what every command that reads a configuration takes.
type source struct {
	files []string
	noEnv bool
}

func (s *source) flags(c *cobra.Command) {
	c.Flags().StringArrayVarP(&s.files, "config", "c", []string{"gateway.yaml"}, "configuration `file`; give it again to lay further files over the first")
}

// lookingFlags are for the commands that only look: what is read without the
// environment must not be served.
func (s *source) lookingFlags(c *cobra.Command) {
	s.flags(c)
	c.Flags().BoolVar(&s.noEnv, "no-env", false, "do not read the environment: every ${NAME} counts as set (for CI)")
}

// load reads the configuration. Problems go to w; errors among them refuse it.
func (s *source) load(w io.Writer) (*config.Config, *observed, error) {
	cfg, report, seen := s.read()
	if err := report.Write(w); err != nil {
		return nil, nil, fmt.Errorf("writing the problems: %w", err)
	}
	if report.Failed() {
		s.advise(w)
		return nil, nil, refused{exitRefused}
	}
	return cfg, seen, nil
}

// advise says what to do where there is no configuration yet.
func (s *source) advise(w io.Writer) {
	for _, name := range s.files {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(w, "Name the file with -c FILE, or begin with a small one: gateway init -o %s\n", name)
			return
		}
	}
}

// read reads the configuration, and once more if it opens paths of the gateway's
// own: then no route may name one of them. It also tells what it looked at.
func (s *source) read() (*config.Config, *setting.Report, *observed) {
	seen := newObserved()
	o := s.options(seen)
	cfg, report := config.Load(o)
	if cfg != nil && len(cfg.Probes.Public) > 0 {
		o.Reserved = cfg.Probes.Public
		cfg, report = config.Load(o)
	}
	return cfg, report, seen
}

func (s *source) options(seen *observed) config.LoadOptions {
	known := plugins.All()
	o := config.LoadOptions{
		Files: s.files, Env: os.LookupEnv, NoEnv: s.noEnv, ReadFile: seen.readFile, Glob: seen.glob,
		CheckPlugin: func(name string, n *setting.Node, cfg *config.Config, r *setting.Report) {
			for _, p := range known {
				if p.Name == name {
					p.Check(n, plugin.Around{Policies: cfg.LimitPolicies()}, r)
				}
			}
		},
	}
	for _, p := range known {
		o.Plugins = append(o.Plugins, p.Name)
	}
	return o
}
