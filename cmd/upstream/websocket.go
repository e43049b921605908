package main

import (
	"context"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
)

const (
	// messageLimit is the largest WebSocket message in bytes.
	messageLimit = 4 << 20
	// closeWait bounds the writing of a close frame.
	closeWait = 100 * time.Millisecond
)

// websocket answers /ws: every text and binary message comes back as it was,
// and pings are answered. It takes any origin: that check is the gateway's.
func (e *endpoint) websocket(ctx *fasthttp.RequestCtx) {
	up := websocket.FastHTTPUpgrader{
		Subprotocols: []string{"echo"},
		CheckOrigin:  func(*fasthttp.RequestCtx) bool { return true },
	}
	// A failed upgrade has been answered by the upgrader.
	_ = up.Upgrade(ctx, func(conn *websocket.Conn) {
		if !e.sockets.add(conn) {
			return
		}
		defer e.sockets.remove(conn)
		echoMessages(conn)
	})
}

// echoMessages returns when the connection ends, for whatever reason.
func echoMessages(conn *websocket.Conn) {
	conn.SetReadLimit(messageLimit)
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if err := conn.WriteMessage(kind, message); err != nil {
			return
		}
	}
}

// sockets is the set of open WebSockets of an endpoint. The HTTP server forgets
// a connection once it is handed over, so somebody else must end it. The zero
// value is an empty set; its methods may be called from any goroutine.
type sockets struct {
	mu      sync.Mutex
	open    map[*websocket.Conn]struct{}
	stopped bool
	served  sync.WaitGroup // the goroutines that echo
}

// add reports false when the set has been stopped.
func (s *sockets) add(conn *websocket.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	if s.open == nil {
		s.open = make(map[*websocket.Conn]struct{})
	}
	s.open[conn] = struct{}{}
	s.served.Add(1)
	return true
}

func (s *sockets) remove(conn *websocket.Conn) {
	s.mu.Lock()
	delete(s.open, conn)
	s.mu.Unlock()
	s.served.Done()
}

// stop sends 1001 (going away) to every peer, ends the goroutines that echo and
// waits for them, or until ctx ends.
func (s *sockets) stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	goodbye := websocket.FormatCloseMessage(websocket.CloseGoingAway, "stopping")
	for conn := range s.open {
		_ = conn.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(closeWait))
		// Close does nothing here: the server closes the connection when its
		// goroutine returns, which a deadline in the past brings about.
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { // ends with the last connection; each of them was told above
		s.served.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
