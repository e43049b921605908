package pipeline

import "fmt"

// Mirror shows a share of a route's requests to another service. It is immutable.
type Mirror struct {
	To    *Destination // its retries are not looked at: a copy is sent once
	Share float64      // of the requests, 0–1
	// Copier sends the copies; nil where nothing is sent.
	Copier Copier
}

// Copier sends copies of requests and throws the answers away. No call waits for anything.
type Copier interface {
	// Copy sends a copy of x to target, with body, unless there are too many under way. All
	// of it is borrowed for the call.
	Copy(x *Exchange, target, body []byte)
	// Skip counts a request that can't be copied.
	Skip(stripe uint32)
	// Close ends the copies that are under way and waits for that. No call comes later.
	Close()
}

// String is the mirror as an operator would say it.
func (m *Mirror) String() string { return fmt.Sprintf("%.4g%% to %s", 100*m.Share, m.To.Service.Name) }
