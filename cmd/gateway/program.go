package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/admin"
	"github.com/suuupra/gateway/core/background"
	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/gateway"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/plugins"
)

// What asks for a reload, beside admin.TriggerAdmin.
const (
	triggerSignal = "signal"
	triggerWatch  = "watch"
)

// program is a running gateway with its admin listener: start joins and starts
// the parts, Reload changes what is in force, stop ends it all.
type program struct {
	from    *source
	started *config.Config // what was bound and opened: see config.WarnAtStart
	log     zerolog.Logger
	level   *logLevel
	meter   *meter.Set
	gateway *gateway.Gateway
	admin   *admin.Server
	// identity says who calls; it is what it was at the start, but for whom the file declares.
	identity *identity
	// limits counts requests; where it does so is decided at the start.
	limits *limits
	// beside is where reloads and logins leave requests their places.
	beside *background.Places
	// finding finds endpoints that are not declared.
	finding *finding

	// turn lets one reload run at a time, and none once the program stops.
	turn      sync.Mutex
	config    *config.Config // in force; guarded by turn, as are the next two
	metrics   reloadMetrics
	toldToken bool // where the token stands that the program keeps for itself

	inForce atomic.Pointer[admin.InForce]
	seen    atomic.Pointer[observed] // by the last load, whatever came of it

	operators atomic.Pointer[net.TCPAddr] // where the admin listener is, once it is

	supervisor *supervisor
	unguard    func() // ends the watchdog

	attending sync.WaitGroup // the goroutines of attend
	stopping  chan struct{}  // closed by stop
}

// serveOptions are what serve was told beside where its configuration stands.
type serveOptions struct {
	watch   bool
	every   time.Duration    // between two looks at the files
	hangups <-chan os.Signal // SIGHUP; one that waits is enough
}

// start reads the configuration, joins the parts and starts them, or leaves
// nothing behind.
func start(from *source, o serveOptions, stderr io.Writer) (*program, error) {
	begun := time.Now()
	cfg, seen, err := from.load(stderr)
	if err != nil {
		return nil, err
	}
	p := &program{from: from, started: cfg, config: cfg, meter: meter.NewSet(time.Now), beside: background.New(), stopping: make(chan struct{})}
	p.log, p.level = newLog(cfg.Telemetry.Log, stderr)
	p.supervisor = &supervisor{log: p.log}
	p.seen.Store(seen)
	sockets, err := inherited(cfg)
	if err != nil {
		p.log.Error().Err(err).Msg("the service manager and the configuration don't agree")
		return nil, refused{exitRefused}
	}
	if p.identity, err = openIdentity(cfg, p.meter, p.log, p.beside); err != nil {
		return nil, unlessRefused(cfg, err, stderr)
	}
	p.limits = openLimits(cfg, p.identity.stores, p.meter, p.log)
	if p.finding, err = openFinding(cfg, findingParts{p.barred, p.meter, p.log}); err != nil {
		p.closeParts()
		return nil, unlessRefused(cfg, err, stderr)
	}
	p.gateway, err = gateway.Start(cfg, gateway.Parts{
		Clock: clock.Real(), Meter: p.meter, Log: p.log, Plugins: plugins.All(), BuiltIns: p.builtIns, Barred: p.barred,
		Sockets: sockets, Identity: &p.identity.known, Stays: p.identity.stays(),
		Limits: p.limits.Limits, Finder: p.finding, Recorder: p.identity.recorder(), Breakers: p.identity.stores.breakers(),
	})
	if err != nil {
		p.closeParts()
		return nil, unlessRefused(cfg, err, stderr)
	}
	p.inForce.Store(putInForce(cfg, seen, 1))
	p.metrics = newReloadMetrics(p)
	p.admin = admin.New(admin.Options{
		Address: cfg.Admin.Address, Hosts: cfg.Admin.Hosts,
		Meter: p.meter, Probes: p.probes(cfg), Log: p.log, API: p.api(begun), InternalKeys: p.identity.internalKeys(),
	})
	if err := p.admin.Start(); err != nil {
		defer p.closeParts()
		return nil, errors.Join(err, p.gateway.Close())
	}
	p.identity.start()
	p.limits.start()
	p.operators.Store(p.admin.Addr().(*net.TCPAddr))
	p.admin.Update(cfg.Admin.Hosts, p.tokens(cfg), p.probes(cfg)) // a start that failed must leave no token behind
	p.attend(o)
	p.announce()
	p.unguard = p.supervisor.guard(p.turns)
	return p, nil
}

// unlessRefused is err, unless check would have refused cfg just as well: then it
// says the same, with the same exit code.
func unlessRefused(cfg *config.Config, err error, stderr io.Writer) error {
	c, refusal := compile(cfg)
	if refusal == nil {
		return errors.Join(err, c.close())
	}
	fmt.Fprintln(stderr, refusal)
	return refused{exitRefused}
}

// closeParts ends what outlives the gateway: what counts first, for it tells the stores
// what is left.
func (p *program) closeParts() {
	p.finding.close()
	p.limits.close()
	p.identity.close()
	p.beside.Close()
}

// announce logs where the program listens, and that it is ready.
func (p *program) announce() {
	for _, l := range p.started.Listeners {
		p.log.Info().Str("listener", l.Name).Stringer("address", p.gateway.Address(l.Name)).Msg("listening")
	}
	p.log.Info().Stringer("address", p.admin.Addr()).Msg("listening for operators")
	p.log.Info().Str("version", version).Int("routes", len(p.started.Routes)).Int("services", len(p.started.Services)).
		Msg("ready; " + p.identity.whereKept())
	p.log.Info().Str("mode", p.limits.mode).Msg(p.limits.whereCounted())
	p.tellReady()
}

// barred says that a connection to that address would reach the admin listener,
// which takes this machine's word for who calls (SECURITY C8).
func (p *program) barred(to netip.AddrPort) bool {
	operators := p.operators.Load()
	if operators == nil || int(to.Port()) != operators.Port {
		return false
	}
	return to.Addr() == operators.AddrPort().Addr().Unmap() || to.Addr().IsUnspecified()
}

// api is what the admin listener shows and changes.
func (p *program) api(started time.Time) *admin.API {
	return &admin.API{
		Version: version, Started: started, Now: time.Now,
		Snapshot: p.gateway.Current, Listeners: p.gateway.Listeners, Reloader: p, LogLevel: p.level, Connections: p.gateway.Tunnels(),
	}
}

// tokens are those of cfg, or the one that the program keeps for itself. Without
// any the gateway runs all the same.
func (p *program) tokens(cfg *config.Config) []admin.Token {
	if tokens := admin.Tokens(cfg.Admin); len(tokens) > 0 {
		return tokens
	}
	own, err := admin.OwnToken(p.started.Directory)
	told := p.toldToken
	p.toldToken = err == nil
	if err != nil {
		p.log.Warn().Err(err).Msg("nobody can use the admin API: name a token in admin.tokens, or set `directory` to a folder that the gateway can write to; metrics and probes answer")
		return nil
	}
	if !told {
		p.log.Info().Str("file", admin.TokenPath(p.started.Directory)).Msg("the admin API takes the token in this file")
	}
	return []admin.Token{own}
}

// Reload is the one way to change what is in force; signals, files and operators
// all come through it, one after the other. It implements admin.Reloader.
func (p *program) Reload(trigger string) admin.Outcome {
	p.turn.Lock()
	defer p.turn.Unlock()
	p.supervisor.reloading()
	defer p.tellReady()
	var o admin.Outcome
	p.beside.Do(func() { o = p.reload(trigger) }) // ten thousand routes are a second of a core
	return o
}

// reload reads the files and puts them in force, or changes nothing. Callers hold turn.
func (p *program) reload(trigger string) admin.Outcome {
	begun := time.Now()
	cfg, report, seen := p.from.read()
	p.seen.Store(seen)
	next := *p.inForce.Load()
	o := admin.Outcome{Trigger: trigger, Result: admin.Applied}
	if err := p.apply(cfg, report); err != nil {
		o.Result = admin.Refused
		o.Problems = admin.Problems(report)
		if !report.Failed() {
			o.Problems = append(o.Problems, admin.Problem{Text: err.Error()})
		}
	} else {
		o.Problems = admin.Problems(report) // warnings
		next = *putInForce(cfg, seen, next.Version+1)
	}
	o.At, o.Milliseconds = time.Now(), time.Since(begun).Milliseconds()
	o.Version, o.Hash = next.Version, next.Hash
	next.LastReload = &o
	p.inForce.Store(&next)
	p.metrics.conclude(p, &next)
	p.logOutcome(&next)
	return o
}

// errStopping refuses a reload that comes too late.
var errStopping = errors.New("the gateway is stopping")

// apply puts cfg in force, or changes nothing. cfg is nil if report holds errors;
// warnings of what has to wait are added to it.
func (p *program) apply(cfg *config.Config, report *setting.Report) error {
	if err := report.Err(); err != nil {
		return err
	}
	select {
	case <-p.stopping:
		return errStopping
	default:
	}
	config.WarnAtStart(p.started, cfg, report)
	declare, err := p.identity.prepare(cfg)
	if err != nil {
		return err
	}
	if err := p.gateway.Reload(cfg); err != nil {
		return err
	}
	// Nothing can fail from here on.
	declare()
	p.finding.renew(cfg)
	p.admin.Update(cfg.Admin.Hosts, p.tokens(cfg), p.probes(cfg))
	_ = p.level.SetLevel(cfg.Telemetry.Log.Level) // config knows only levels that there are
	p.config = cfg
	return nil
}

// InForce says which configuration is in force. It implements admin.Reloader.
func (p *program) InForce() admin.InForce { return *p.inForce.Load() }

var _ admin.Reloader = (*program)(nil)

// putInForce says what is in force from now on.
func putInForce(cfg *config.Config, seen *observed, number uint64) *admin.InForce {
	return &admin.InForce{
		Version: number, LoadedAt: time.Now(), Sources: seen.sources(), Hash: config.Hash(cfg),
		Routes: len(cfg.Routes), Services: len(cfg.Services),
	}
}

// mostLogged bounds the problems in a log line; the outcome has them all.
const mostLogged = 20

// logOutcome writes what came of a reload.
func (p *program) logOutcome(f *admin.InForce) {
	o := f.LastReload
	event, text := p.log.Info(), "the configuration was reloaded"
	if o.Result == admin.Refused {
		event, text = p.log.Error(), "the configuration was refused; the one in force stays"
	}
	var problems []string
	for _, problem := range o.Problems[:min(len(o.Problems), mostLogged)] {
		problems = append(problems, problem.String())
	}
	event.Str("trigger", o.Trigger).Uint64("version", f.Version).Str("hash", f.Hash).Int("routes", f.Routes).Int("services", f.Services).
		Int64("milliseconds", o.Milliseconds).Int("problem_count", len(o.Problems)).Strs("problems", problems).Msg(text)
}

// stop ends what starts reloads, drains, and closes; a further signal ends the
// waiting.
func (p *program) stop(signals <-chan os.Signal) error {
	close(p.stopping)
	p.attending.Wait()
	p.turn.Lock() // a reload under way ends first; those to come are refused
	s := p.config.Shutdown
	p.turn.Unlock()
	defer p.unguard()
	p.supervisor.stopping(time.Duration(s.Delay + s.Drain))

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	drained := make(chan struct{})
	watching := make(chan struct{})
	go func() { // ends with stop, which awaits it
		defer close(watching)
		select {
		case <-signals:
			p.log.Warn().Msg("a second signal: not waiting any longer")
			cancel()
		case <-drained:
		}
	}()
	err := p.gateway.Shutdown(ctx, gateway.Drain{Delay: time.Duration(s.Delay), Timeout: time.Duration(s.Drain)})
	close(drained)
	<-watching
	err = errors.Join(err, p.admin.Close(ctx))
	p.closeParts()
	if err != nil {
		p.log.Error().Err(err).Msg("stopped, not everything had ended")
		return refused{exitCutShort}
	}
	p.log.Info().Msg("stopped")
	return nil
}
