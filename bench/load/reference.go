package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// reference asks twice, on connections of their own, and stores the body that
// every later answer must have in the plan. It refuses an unexpected status, and a URL
// whose two answers differ: such answers could not be told from wrong ones.
func (p *plan) reference(address string) error {
	first, err := p.ask(address)
	if err != nil {
		return fmt.Errorf("ask for the expected answer: %w", err)
	}
	second, err := p.ask(address)
	if err != nil {
		return fmt.Errorf("ask again for the expected answer: %w", err)
	}
	if !bytes.Equal(first, second) {
		return fmt.Errorf("two answers differ (%d and %d bytes): the answers of this URL can't be checked", len(first), len(second))
	}
	p.body = first
	return nil
}

// ask sends the request once and returns the body of the answer.
func (p *plan) ask(address string) ([]byte, error) {
	conn, err := net.DialTimeout("tcp", address, p.timeout)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(p.timeout)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(p.request); err != nil {
		return nil, err
	}
	a := answer{noBody: p.noBody}
	buf := make([]byte, readSize)
	for !a.done() {
		n, err := conn.Read(buf)
		if _, formErr := a.feed(buf[:n]); formErr != nil {
			return nil, formErr
		}
		if errors.Is(err, io.EOF) && a.closed() {
			break
		}
		if err != nil && !a.done() {
			return nil, fmt.Errorf("after %d bytes of the answer: %w", a.received, err)
		}
	}
	if a.code != p.status {
		return nil, fmt.Errorf("status %d, want %d", a.code, p.status)
	}
	return a.got, nil
}
