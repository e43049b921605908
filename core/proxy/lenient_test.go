//go:build race

package proxy

import "time"

// within is a bound of time, wider for a build that is many times slower.
func within(d time.Duration) time.Duration { return 6 * d }
