// Package chaos holds the data path to what it promises while the network between
// the gateway and a service fails: a table of faults and of clients, and for each
// pair what exactly the client, the service and the operator see.
//
//	table_test.go      what must happen, as data
//	fault_test.go      what goes wrong, and how it is made by toxiproxy
//	behaviour_test.go  what clients do
//	endpoint_test.go   the service
//	cell_test.go       runs one pair and tells what happened
package chaos

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

// together is how many cells run at once. They wait for timers and sockets most
// of the time, so the number of processors is no measure.
const together = "16"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", together); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	zerolog.SetGlobalLevel(zerolog.ErrorLevel) // one of the toxics logs by a logger of its own
	goleak.VerifyTestMain(m,
		// fasthttp starts these once for the process, or stops them a while after
		// its server was shut down.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// A toxic that ends a connection leaves those before it with bytes that
		// nobody takes.
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
	)
}
