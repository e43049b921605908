//go:build !race

package session_test

import (
	"testing"
)

func TestAllocsSeen0(t *testing.T) {
	s := newStand(t, memory())
	p := s.begin()
	if n := testing.AllocsPerRun(1000, func() { s.Seen(p.Session, p.Access.ID, begun.Unix()) }); n != 0 {
		t.Errorf("Seen allocates %v times", n)
	}
	next := s.refresh(p)
	if n := testing.AllocsPerRun(1000, func() { s.Seen(next.Session, next.Access.ID, begun.Unix()) }); n != 0 {
		t.Errorf("Seen of a fresh token allocates %v times", n)
	}
}

func BenchmarkSeen(b *testing.B) {
	s := newStand(&testing.T{}, memory())
	for name, issued := range map[string]int64{"fresh": begun.Unix(), "old": begun.Unix() - 3600} {
		if name == "old" {
			s.SetHorizon(begun.Unix())
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s.Seen("session", "id-of-an-access-token", issued)
			}
		})
	}
}
