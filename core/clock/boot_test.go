package clock_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/suuupra/gateway/core/clock"
)

// TestBootIsTheKernels: what is told lies between two readings of the kernel's clock.
func TestBootIsTheKernels(t *testing.T) {
	t.Parallel()
	boot := clock.Boot()
	kernel := func() int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			t.Fatal(err)
		}
		return ts.Nano()
	}
	for range 10_000 {
		before := kernel()
		got := boot()
		after := kernel()
		if got < before-int64(clock.BootError)/2 || got > after+int64(clock.BootError)/2 {
			t.Fatalf("Boot is %s before the kernel's clock, or %s after", time.Duration(before-got), time.Duration(got-after))
		}
	}
}

func BenchmarkBoot(b *testing.B) {
	boot := clock.Boot()
	b.ReportAllocs()
	for b.Loop() {
		boot()
	}
}
