package discovery

import (
	"context"
	"errors"
	"time"

	"github.com/suuupra/gateway/core/upstream"
)

// Asked is what came of asking once.
type Asked struct {
	Endpoints int   // that may be called
	Err       error // why there are none, or not all; nil if there is nothing to say
	// Known is how many endpoints are kept of an earlier run, and Since when they were learnt.
	Known int
	Since time.Time
}

var errNoSource = errors.New("discovery does not say where the source is")

// Ask asks once for d, within ctx, for whoever wants to know what the gateway would be told. It keeps and
// changes nothing.
func (f *Finder) Ask(ctx context.Context, d upstream.Discovery) Asked {
	var out Asked
	known, since, err := f.shelf.take(d)
	if out.Known, out.Since = len(known), since; err != nil {
		out.Err = err
	}
	source := f.sources[d.Source]
	if source == nil {
		out.Err = errNoSource
		return out
	}
	answer, err := source.Open(d).Next(ctx, 0)
	if err != nil {
		out.Err = err
		return out
	}
	endpoints, refused := clean(answer.Endpoints, f.barred)
	if out.Endpoints = len(endpoints); refused != "" {
		out.Err = errors.Join(out.Err, Fail(Refused, errors.New("refused "+refused)))
	}
	return out
}
