//go:build !race

package revocation_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/revocation"
)

func filled(t testing.TB, n int) *revocation.Mirror {
	m := made(t, revocation.Options{})
	for i := range n {
		m.Take(session(fmt.Sprintf("session-%d", i)))
	}
	return m
}

func TestAllocsAskingIsFree(t *testing.T) {
	m := filled(t, 10_000)
	keys := []string{revocation.ForeignKey("a", "jti", "b"), revocation.ForeignKey("a", "sid", "b")}
	stays, guest := m.Stays(), &guest{}
	if n := testing.AllocsPerRun(200, func() {
		m.Revoked("session-77", "0190c8a0-alice", 5)
		m.Revoked("session-x", "partner:alice", 5)
		m.RevokedForeign(keys)
		m.State()
		stay := &guest.stay
		*stay = revocation.Stay{Guest: guest, Session: "s", User: "partner:alice", Keys: keys, Expires: 1 << 40}
		stays.Enter(stay)
		stays.Leave(stay)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRevoked(b *testing.B) {
	for _, n := range []int{0, 1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := filled(b, n)
			b.ReportAllocs()
			for b.Loop() {
				m.Revoked("mS0l9lZ2q8fQvV3WmZk2bA", "0190c8a0-7b1e-7c55-8f1a-3f7c7d2e9b10", 5)
			}
		})
	}
}

func BenchmarkStay(b *testing.B) {
	m := filled(b, 1000)
	guest := &guest{}
	b.ReportAllocs()
	for b.Loop() {
		guest.stay = revocation.Stay{Guest: guest, Session: "mS0l9lZ2q8fQvV3WmZk2bA", User: "0190c8a0-7b1e-7c55-8f1a-3f7c7d2e9b10", Expires: time.Now().Unix() + 900}
		m.Stays().Enter(&guest.stay)
		m.Stays().Leave(&guest.stay)
	}
}
