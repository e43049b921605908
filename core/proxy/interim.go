package proxy

import (
	"bytes"

	"github.com/suuupra/gateway/core/socket"
)

// longestInterim is how far the sweeper looks into what a service sends during an upload,
// in bytes. What goes on beyond that is taken for an answer: the exchange finds out.
const longestInterim = 4 << 10

// interimLine begins an interim answer; any digit may stand for the version's.
const interimLine = "HTTP/1.1 1"

// heardIn says whether p, the beginning of what a service has sent, holds more than
// interim answers: a final one, or what is none. More may be on its way unless whole is
// set. 101 is as good as final.
func heardIn(p []byte, whole bool) bool {
	for len(p) > 0 {
		for i := range min(len(p), len(interimLine)) {
			if p[i] != interimLine[i] && i != len("HTTP/1.") {
				return true
			}
		}
		if bytes.HasPrefix(p[min(len(p), len(interimLine)):], []byte("01")) {
			return true
		}
		end := bytes.Index(p, []byte("\r\n\r\n"))
		if end < 0 {
			return whole
		}
		p = p[end+len("\r\n\r\n"):]
	}
	return whole
}

// heard is heardIn of what crypto/tls has.
func (s *secure) heard() bool {
	sight := s.look()
	if sight != socket.Bytes {
		return sight != socket.Silent
	}
	if !heardIn(s.ahead, false) && len(s.ahead) < longestInterim {
		s.lookFurther()
	}
	return heardIn(s.ahead, len(s.ahead) == longestInterim)
}

// lookFurther reads ahead what has come, up to longestInterim.
func (s *secure) lookFurther() {
	s.ahead = append(make([]byte, 0, longestInterim), s.ahead...)
	s.nowait = true
	defer func() { s.nowait = false }()
	for len(s.ahead) < longestInterim {
		n, err := s.conn.Read(s.ahead[len(s.ahead):longestInterim])
		s.ahead = s.ahead[:len(s.ahead)+n]
		if err != nil {
			return // crypto/tls says it again
		}
	}
}

// take moves what was read ahead into p.
func (s *secure) take(p []byte) int {
	n := copy(p, s.ahead)
	if s.ahead = s.ahead[n:]; len(s.ahead) == 0 {
		s.ahead = nil
	}
	return n
}
