package gatewaytest

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// The opcodes of WebSocket frames (RFC 6455 §5.2).
const (
	Continuation = 0x0
	Text         = 0x1
	Binary       = 0x2
	CloseFrame   = 0x8
	Ping         = 0x9
	Pong         = 0xa
)

// Key is the key of the handshakes of this package, and AcceptKey the answer to it.
const (
	Key       = "dGhlIHNhbXBsZSBub25jZQ=="
	AcceptKey = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// Handshake is the request that opens a WebSocket; fields are further lines, each
// with its end.
func Handshake(target, fields string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " +
		Key + "\r\n" + fields + "\r\n"
}

// Switching is a service's answer to a handshake with Key.
const Switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + AcceptKey + "\r\n\r\n"

// Accept is the answer to a key (RFC 6455 §4.2.2).
func Accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Frame is a whole frame, or a part of a message if final is false.
type Frame struct {
	Opcode  byte
	Final   bool
	Payload string
}

// String shows the frame, and of a long one how long it is.
func (f Frame) String() string {
	payload := f.Payload
	if len(payload) > 64 {
		payload = fmt.Sprintf("%s… %d bytes", payload[:16], len(payload))
	}
	return fmt.Sprintf("opcode %x final %t %q", f.Opcode, f.Final, payload)
}

// Bytes are the frame as it is sent, masked as by a client if mask is set.
func (f Frame) Bytes(mask bool) string {
	b := []byte{f.Opcode}
	if f.Final {
		b[0] |= 0x80
	}
	switch n := len(f.Payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	if !mask {
		return string(append(b, f.Payload...))
	}
	b[1] |= 0x80
	key := [4]byte{1, 2, 3, 4}
	b = append(b, key[:]...)
	for i := range len(f.Payload) {
		b = append(b, f.Payload[i]^key[i%4])
	}
	return string(b)
}

// ReadFrame reads one frame, masked or not.
func ReadFrame(r *bufio.Reader) (Frame, error) {
	var head [14]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return Frame{}, err
	}
	f := Frame{Opcode: head[0] & 0x0f, Final: head[0]&0x80 != 0}
	n := uint64(head[1] & 0x7f)
	more := map[uint64]int{126: 2, 127: 8}[n]
	if _, err := io.ReadFull(r, head[2:2+more]); err != nil {
		return f, err
	}
	switch more {
	case 2:
		n = uint64(binary.BigEndian.Uint16(head[2:]))
	case 8:
		n = binary.BigEndian.Uint64(head[2:])
	}
	var key [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return f, err
		}
	}
	payload := make([]byte, n)
	_, err := io.ReadFull(r, payload)
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	f.Payload = string(payload)
	return f, err
}

// Frame returns the next frame, or fails the test.
func (c *Client) Frame() Frame {
	c.t.Helper()
	_ = c.Conn.SetReadDeadline(time.Now().Add(patience))
	f, err := ReadFrame(c.r)
	if err != nil {
		c.t.Fatalf("reading a frame: %v; got %v", err, f)
	}
	return f
}

// OpenWebSocket dials, shakes hands, and fails the test unless the answer is 101.
// It returns the answer's head too.
func OpenWebSocket(t testing.TB, address, target, fields string) (c *Client, head string) {
	t.Helper()
	c = Dial(t, address)
	c.Write(Handshake(target, fields))
	head = c.Read("GET")
	if !strings.HasPrefix(head, "HTTP/1.1 101 Switching Protocols\r\n") {
		t.Fatalf("the handshake got %q", head)
	}
	return c, head
}

// Echo is a raw origin's part after its 101: it sends every frame back, answers
// pings, and ends with a Close frame, which it answers.
func Echo(c *OriginConn) {
	for {
		f, err := ReadFrame(c.R)
		if err != nil {
			return
		}
		if f.Opcode == Ping {
			f.Opcode = Pong
		}
		if _, err := io.WriteString(c, f.Bytes(false)); err != nil || f.Opcode == CloseFrame {
			return
		}
	}
}

// NewEcho starts an endpoint that takes every handshake and echoes.
func NewEcho(t testing.TB) *Origin {
	return NewRawOrigin(t, func(c *OriginConn) {
		request, err := c.ReadRequest()
		if err != nil {
			return
		}
		_, rest, _ := strings.Cut(request, "Sec-WebSocket-Key: ")
		key, _, _ := strings.Cut(rest, "\r\n")
		if _, err := io.WriteString(c, strings.Replace(Switching, AcceptKey, Accept(key), 1)); err == nil {
			Echo(c)
		}
	})
}
