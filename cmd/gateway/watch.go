package main

import "time"

// watchEvery is how often --watch looks. Files are polled: notifications of the
// kernel don't reach network and overlay file systems, and follow no links.
const watchEvery = time.Second

// stillness knows what was there at the last look.
type stillness struct{ before string }

// settled says whether what is there differs from what is in force, and is the
// same as at the last look.
func (s *stillness) settled(present string, differs bool) bool {
	same := present == s.before
	s.before = present
	return differs && same
}

// watch asks for a reload once the files have changed and then stayed the same
// from one look to the next: half a `git pull` must not go live. It ends when
// the program stops.
func (p *program) watch(every time.Duration, changed chan<- struct{}) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var looks stillness
	for {
		select {
		case <-p.stopping:
			return
		case <-ticker.C:
		}
		if !looks.settled(p.seen.Load().now()) {
			continue
		}
		select {
		case changed <- struct{}{}:
		default: // one is asked for already
		}
	}
}

// attend reloads when a signal or a changed file asks for it, until the program
// stops. What asks while a reload runs makes one more, however often it asks.
func (p *program) attend(o serveOptions) {
	changed := make(chan struct{}, 1)
	if o.watch {
		p.attending.Go(func() { p.watch(o.every, changed) })
	}
	p.attending.Go(func() {
		for {
			select {
			case <-p.stopping:
				return
			case <-o.hangups:
				p.Reload(triggerSignal)
			case <-changed:
				p.Reload(triggerWatch)
			}
		}
	})
}
