package main

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
)

// sockets are WebSockets that talk to an echo through the gateway, all the time.
type sockets struct {
	address string
	running sync.WaitGroup
	ending  chan struct{}

	mu      sync.Mutex // guards all below
	echoes  int        // messages that came back
	told    int        // times that one was told to go away (1001), and came back
	dropped []error    // those that ended in any other way
}

// echoPause is the time between two messages of one WebSocket.
const echoPause = 100 * time.Millisecond

// openSockets opens n WebSockets; end closes them.
func openSockets(address string, n int) (*sockets, error) {
	s := &sockets{address: address, ending: make(chan struct{})}
	for range n {
		conn, err := s.dial()
		if err != nil {
			return nil, errors.Join(err, s.end())
		}
		s.running.Go(func() { s.talk(conn) })
	}
	return s, nil
}

func (s *sockets) dial() (*websocket.Conn, error) {
	dialer := websocket.Dialer{HandshakeTimeout: patience}
	conn, resp, err := dialer.Dial("ws://"+s.address+"/ws", nil)
	if err != nil {
		return nil, fmt.Errorf("open a WebSocket: %w", err)
	}
	return conn, resp.Body.Close()
}

// talk sends and reads until the end, on a new connection each time that it is told
// to go away.
func (s *sockets) talk(conn *websocket.Conn) {
	for n := 0; ; n++ {
		select {
		case <-s.ending:
			_ = conn.Close() // the trial is over
			return
		case <-time.After(echoPause):
		}
		err := echo(conn, strconv.Itoa(n))
		if websocket.IsCloseError(err, websocket.CloseGoingAway) {
			_ = conn.Close() // both sides have said goodbye
			s.count(&s.told)
			conn, err = s.dial()
		}
		if err != nil {
			s.mu.Lock()
			s.dropped = append(s.dropped, err)
			s.mu.Unlock()
			return
		}
		s.count(&s.echoes)
	}
}

// echo sends text and wants it back.
func echo(conn *websocket.Conn, text string) error {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	// Where the other side has just said goodbye the read tells, not the write.
	_ = conn.WriteMessage(websocket.TextMessage, []byte(text))
	_, got, err := conn.ReadMessage()
	if err == nil && string(got) != text {
		err = fmt.Errorf("the echo of %q is %q", text, got)
	}
	return err
}

func (s *sockets) count(n *int) {
	s.mu.Lock()
	*n++
	s.mu.Unlock()
}

// unharmed says what was wrong with them so far: one that ended unannounced, or was told
// to go away more or less often than that.
func (s *sockets) unharmed(told int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.dropped) > 0 {
		return fmt.Errorf("%d WebSockets were dropped, like: %w", len(s.dropped), s.dropped[0])
	}
	if s.told != told {
		return fmt.Errorf("WebSockets were told to go away %d times, want %d", s.told, told)
	}
	return nil
}

// end closes them all; the error says that one was dropped, or that none ever had
// anything echoed.
func (s *sockets) end() error {
	close(s.ending)
	s.running.Wait()
	err := s.unharmed(s.told)
	if err == nil && s.echoes == 0 {
		err = errors.New("no WebSocket had anything echoed")
	}
	return err
}
