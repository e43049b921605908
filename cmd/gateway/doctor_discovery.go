package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/discovery"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/snapshot"
)

// checkDiscovery asks Consul and name servers once for each service whose endpoints they know.
func checkDiscovery(ctx context.Context, e *examination) []diagnosis {
	var services []*config.Service
	for _, s := range e.config.Services {
		if s.Consul != nil || s.DNS != nil {
			services = append(services, s)
		}
	}
	if len(services) == 0 {
		return nil
	}
	f, err := openFinding(e.config, findingParts{meter: meter.NewSet(time.Now), log: zerolog.Nop()})
	if err != nil {
		return []diagnosis{{stateFail, "discovery", err.Error(), "see that the files exist and that this user may read them"}}
	}
	defer f.close()
	found := make([]diagnosis, len(services))
	var running sync.WaitGroup
	for i, s := range services {
		running.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, answerWithin)
			defer cancel()
			d := snapshot.Found(s)
			found[i] = judgeDiscovery("discovery of "+s.Name, d.Source, f.Ask(ctx, d))
		})
	}
	running.Wait()
	return found
}

// judgeDiscovery says what came of asking once. Endpoints of an earlier run serve while the source is
// away.
func judgeDiscovery(name, source string, a discovery.Asked) diagnosis {
	do := "see that discovery." + source + " says where it is, that it runs, and that this machine may ask it for this name"
	switch {
	case a.Endpoints > 0 && a.Err != nil:
		return diagnosis{stateWarn, name, fmt.Sprintf("%s knows %d endpoints; %v", source, a.Endpoints, a.Err), "correct what is registered, or remove the file"}
	case a.Endpoints > 0:
		return diagnosis{stateOK, name, fmt.Sprintf("%s knows %d endpoints", source, a.Endpoints), ""}
	case a.Err == nil:
		a.Err = fmt.Errorf("%s knows no endpoint", source)
	}
	if a.Known > 0 {
		return diagnosis{stateWarn, name, fmt.Sprintf("%v; a start would go by the %d endpoints known last, of %s", a.Err, a.Known, a.Since.Format(time.RFC3339)), do}
	}
	return diagnosis{stateFail, name, fmt.Sprintf("%v; a start would know no endpoint", a.Err), do}
}
