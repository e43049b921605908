package wire

import "net/http"

func writeMore() {
	names["b"] = 2           // want globals "names is written"
	digits[1] = 2            // want globals "digits is written"
	limits.uri = 2           // want globals "limits is written"
	delete(names, "a")       // want globals "names is written"
	http.DefaultClient = nil // want globals "http.DefaultClient is written"
	copy(digits[:], "1")     // want globals "digits is written"
	for counter = range 3 {  // want globals "counter is written"
	}
	local := limits
	local.uri = 3
}
