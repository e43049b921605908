package account_test

import (
	"testing"

	"github.com/suuupra/gateway/core/account"
	"github.com/suuupra/gateway/core/account/accounttest"
	"github.com/suuupra/gateway/core/clock"
)

func TestMemory(t *testing.T) {
	accounttest.TestStore(t, func(*testing.T) account.Store { return account.NewMemory() })
}

func TestMemoryThrottle(t *testing.T) {
	accounttest.TestThrottle(t, func(*testing.T) account.Throttle { return account.NewMemoryThrottle(clock.Real()) })
}
