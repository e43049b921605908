package plugin

import (
	"fmt"
	"reflect"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/setting"
)

// Plugin is a declared plugin, without the type of its options. It is immutable.
type Plugin struct {
	// Name is the key under `plugins:` in the configuration.
	Name string

	options reflect.Type
	check   func(*setting.Node, Around, *setting.Report)
	build   func(*setting.Node, *Deps) (pipeline.Instance, error)
}

// Deps is what an instance is built from. The program fills it once; Route is
// set for each route that is compiled.
type Deps struct {
	Meter  *meter.Set
	Clock  clock.Clock
	Log    zerolog.Logger // for what an operator must know; never for requests
	Route  string         // name of the route, for labels
	Keeper *Keeper
	// Identity is nil in programs that only check a configuration.
	Identity *Identity
	// Limits is nil in programs that only check a configuration.
	Limits *Limits
	// Policies are the rate-limit policies of the configuration that is compiled, by
	// name; those in force may have other numbers, and are Limits's.
	Policies map[string]*limit.Policy
}

// Of declares the plugin name with options of type O, a struct with the tags of
// package setting.
//
// check reports what the types alone can't say; it is called only when the
// options could be decoded. A nil check accepts them all. build compiles options
// that check accepted.
func Of[O any](name string, check func(O, *setting.Report), build func(O, *Deps) (pipeline.Instance, error)) Plugin {
	if check == nil {
		check = func(O, *setting.Report) {}
	}
	return OfAround(name, func(o O, _ Around, r *setting.Report) { check(o, r) }, build)
}

// OfAround is Of for options that name what stands elsewhere in the configuration.
// build must not count on what check saw: it may have changed since, as a policy does.
func OfAround[O any](name string, check func(O, Around, *setting.Report), build func(O, *Deps) (pipeline.Instance, error)) Plugin {
	return Plugin{
		Name:    name,
		options: reflect.TypeFor[O](),
		check: func(n *setting.Node, around Around, r *setting.Report) {
			decode(n, r, func(o O, r *setting.Report) { check(o, around, r) })
		},
		build: func(n *setting.Node, d *Deps) (pipeline.Instance, error) {
			var r setting.Report
			options := decode(n, &r, func(o O, r *setting.Report) { check(o, Around{}, r) })
			if err := r.Err(); err != nil {
				return pipeline.Instance{}, fmt.Errorf("options of %s: %w", name, err)
			}
			instance, err := build(options, d)
			if err != nil {
				return pipeline.Instance{}, fmt.Errorf("building %s: %w", name, err)
			}
			return instance, nil
		},
	}
}

// Check decodes the options n strictly and reports every problem to r, each at
// its place. It starts nothing.
func (p Plugin) Check(n *setting.Node, around Around, r *setting.Report) { p.check(n, around, r) }

// Build compiles the options n for the route that d names. The caller closes
// the instance. It fails if Check would, and if something that the options name
// can't be used right now, such as a file.
func (p Plugin) Build(n *setting.Node, d *Deps) (pipeline.Instance, error) { return p.build(n, d) }

// Schema describes the options as JSON Schema 2020-12.
func (p Plugin) Schema() map[string]any { return setting.Schema(p.options) }

// decode reads n into options of type O and lets check look at them, if they
// could be read at all: what follows from one mistake is not reported as a
// second one. Whether they could is asked of a report of their own, since r
// leaves out what it was told before about the same place.
func decode[O any](n *setting.Node, r *setting.Report, check func(O, *setting.Report)) O {
	var options O
	var own setting.Report
	setting.Decode(n, &options, &own)
	setting.Decode(n, &options, r)
	if !own.Failed() {
		check(options, r.In(n))
	}
	return options
}
