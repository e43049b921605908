package account

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/suuupra/gateway/core/background"
)

// TestI12_HashingStandsBack behind the threads that serve.
func TestI12_HashingStandsBack(t *testing.T) {
	t.Parallel()
	nice := func() int32 {
		a, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return a.Nice
	}
	before := nice()
	if err := newPool(1, background.New()).run(t.Context(), func(*room) {
		if got := nice(); got <= before {
			t.Errorf("niceness %d, as the requests'", got)
		}
	}); err != nil {
		t.Error(err)
	}
}
