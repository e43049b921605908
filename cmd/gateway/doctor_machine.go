package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/suuupra/gateway/core/certificate"
	"github.com/suuupra/gateway/core/listen"
)

// fewConnections is a limit that a gateway in use reaches sooner than one thinks.
const fewConnections = 4096

// checkOpenFiles compares the limit of open files with the connections that are wanted. The
// runtime has raised the soft limit to the hard one by now, as it will for serve.
func checkOpenFiles(_ context.Context, e *examination) []diagnosis {
	const name = "open files"
	const do = "raise the limit, by LimitNOFILE=65536 in the unit or `ulimit -n 65536`"
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return []diagnosis{{stateWarn, name, "the limit can't be read: " + err.Error(), "look at `ulimit -n`"}}
	}
	affordable := listen.DefaultConnections()
	wanted := 0
	if e.config != nil {
		wanted = e.config.Limits.Connections
	}
	text := fmt.Sprintf("%d here, enough for %d connections", limit.Cur, affordable)
	switch {
	case wanted > affordable:
		return []diagnosis{{stateFail, name, fmt.Sprintf("%s, and limits.connections is %d; each may need a second one towards a service", text, wanted), do + ", or lower limits.connections"}}
	case affordable < fewConnections:
		return []diagnosis{{stateWarn, name, text, do}}
	}
	return []diagnosis{{stateOK, name, text, ""}}
}

// checkClock asks the kernel whether the clock follows another.
func checkClock(context.Context, *examination) []diagnosis {
	const name = "clock"
	const do = "run chronyd or systemd-timesyncd here, or on the machine below"
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	switch {
	case err != nil:
		return []diagnosis{{stateWarn, name, "the kernel does not say whether it is right: " + err.Error(), do}}
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		return []diagnosis{{stateWarn, name, "nothing keeps it right; tokens and certificates are judged by it", do}}
	}
	return []diagnosis{{stateOK, name, "follows a time server", ""}}
}

// Clocks that are apart: within the first nobody notices, beyond the second tokens that
// one machine issues are refused by another.
const (
	slightSkew = time.Second
	muchSkew   = 30 * time.Second
)

// skewed says what a server's clock, so far ahead of ours, means; nil: nothing.
func skewed(name, server string, skew time.Duration) []diagnosis {
	if skew.Abs() <= slightSkew {
		return nil
	}
	state := stateWarn
	if skew.Abs() > muchSkew {
		state = stateFail
	}
	return []diagnosis{{state, name, fmt.Sprintf("the clock of %s and this machine's are %s apart", server, skew.Abs().Round(time.Millisecond)), "have both follow a time server"}}
}

// checkCertificates looks at how long certificates are good for.
func checkCertificates(_ context.Context, e *examination) []diagnosis {
	var found []diagnosis
	for _, l := range e.config.Listeners {
		if l.TLS == nil {
			continue
		}
		for _, c := range l.TLS.Certificates {
			if c.Pair != nil {
				found = append(found, aged("certificate of listener "+l.Name, c.Pair, (*certificate.Pair).Warnings))
			}
		}
	}
	for _, s := range e.config.Services {
		if !s.Shows() {
			continue
		}
		if p, err := certificate.Parse(s.TLS.Certificate.Text(), s.TLS.Key.Reveal()); err == nil {
			found = append(found, aged("certificate for service "+s.Name, p, (*certificate.Pair).ClientWarnings))
		}
	}
	return found
}

// aged says whether a certificate is good, and for how long.
func aged(name string, p *certificate.Pair, doubts func(*certificate.Pair, time.Time) []string) diagnosis {
	const do = "renew the files; the gateway shows new ones within 10 s"
	now := time.Now()
	until := p.Leaf.NotAfter.UTC().Format(time.DateOnly)
	switch warnings := doubts(p, now); {
	case now.After(p.Leaf.NotAfter):
		return diagnosis{stateFail, name, "expired on " + until, do}
	case !p.Valid(now):
		return diagnosis{stateFail, name, "not good before " + p.Leaf.NotBefore.UTC().Format(time.RFC3339), "look at this machine's clock, or make another"}
	case len(warnings) > 0:
		return diagnosis{stateWarn, name, "good until " + until + ", but " + warnings[0], do}
	}
	return diagnosis{stateOK, name, "good until " + until, ""}
}
