//go:build !race

package limit_test

import (
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/limit"
)

func TestAllocsDenied0(t *testing.T) {
	d := limit.NewDenied(1 << 10)
	key := []byte("rate_limit:ip:" + strings.Repeat("f", 40))
	d.Note(key, 1)
	until := int64(2)
	if n := testing.AllocsPerRun(1000, func() { d.Note(key, until); d.Until(key, 1); until++ }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
