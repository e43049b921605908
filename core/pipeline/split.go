package pipeline

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/suuupra/gateway/core/hashing"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/router"
)

// Split says which of a route's destinations an exchange goes to: the one that the first
// pin which holds names, else one by its share. It is immutable.
//
// # Sticky shares
//
// Each destination draws a lot for each caller, from the hash of both, and the
// best lot wins: -ln(u)/weight with u even in (0, 1], so that it wins as often as its weight
// says (R. Schindelhauer and G. Schomaker, "Weighted Distributed Hash Tables", 2005). A lot
// depends on its own weight alone. When one weight changes, callers move to that destination or
// from it, as many as the shares differ by, and nobody moves between two others. Lots
// depend on the service's name, not on the route or the order: a caller who meets the canary
// on one route meets it on all that split the same services alike.
type Split struct {
	By     Affinity
	Shares []Share
	Pins   []Pin

	total uint64 // of the weights
}

// Share is a destination with its weight.
type Share struct {
	To     *Destination
	Weight int // 0: nobody but who is pinned to it

	salt uint64
}

// Pin sends the requests of which all that it asks for holds to one destination.
type Pin struct {
	To      *Destination
	Request *router.Conditions // on fields, query and cookies
	Caller  principal.Match
}

// NewSplit returns the split by those shares, of which one has a weight, and pins.
func NewSplit(by Affinity, shares []Share, pins []Pin) *Split {
	s := &Split{By: by, Shares: shares, Pins: pins}
	for i := range shares {
		shares[i].salt = hashing.New().AddString(shares[i].To.Service.Name).Sum()
		s.total += uint64(shares[i].Weight)
	}
	return s
}

// choose decides where x goes.
func (s *Split) choose(x *Exchange) *Destination {
	for i := range s.Pins {
		if s.Pins[i].holds(x) {
			return s.Pins[i].To
		}
	}
	switch {
	case len(s.Shares) == 1:
		return s.Shares[0].To
	case s.By.Kind == ByNothing:
		return s.turn(rand.Uint64N(s.total))
	default:
		return s.draw(s.By.Hash(x))
	}
}

// turn returns the destination whose part of the weights holds at.
func (s *Split) turn(at uint64) *Destination {
	for i := range s.Shares {
		weight := uint64(s.Shares[i].Weight)
		if at < weight {
			return s.Shares[i].To
		}
		at -= weight
	}
	return s.Shares[0].To
}

// draw returns the destination that has the best lot for hash.
func (s *Split) draw(hash uint64) *Destination {
	to, best := s.Shares[0].To, math.Inf(1)
	for i := range s.Shares {
		one := &s.Shares[i]
		if one.Weight == 0 {
			continue
		}
		u := (float64(hashing.Mix(hash^one.salt)>>11) + 1) / (1 << 53)
		if lot := -math.Log(u) / float64(one.Weight); lot < best {
			to, best = one.To, lot
		}
	}
	return to
}

func (p *Pin) holds(x *Exchange) bool {
	if !p.Caller.IsZero() && !p.Caller.Holds(x.Principal, x.Claims) {
		return false
	}
	return p.Request.Hold(&x.Request.Header, x.Query)
}

// String is the pin as an operator would say it.
func (p *Pin) String() string {
	return p.To.Service.Name + " if " + strings.Join(append(p.Request.Strings(), p.Caller.Strings()...), " and ")
}

// String is the split, without its pins, as an operator would say it; a route with one
// service splits nothing.
func (s *Split) String() string {
	if len(s.Shares) == 1 {
		return "service " + s.Shares[0].To.Service.Name
	}
	var parts []string
	for i := range s.Shares {
		parts = append(parts, fmt.Sprintf("%s %.4g%%", s.Shares[i].To.Service.Name, 100*float64(s.Shares[i].Weight)/float64(s.total)))
	}
	text := "split " + strings.Join(parts, ", ")
	if s.By.Kind != ByNothing {
		text += ", sticky by " + s.By.String()
	}
	return text
}
