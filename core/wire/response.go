package wire

import "bytes"

// ResponseHead is what the scanner found in a response's head.
type ResponseHead struct {
	Status        int // 100–599
	Minor         uint8
	Names         Names
	ContentLength int64 // -1 chunked, -2 not said: no body, or one that ends with the connection
	Bytes         int   // of the whole head, its empty line included
	Close         bool  // the connection ends with this answer
}

// ResponseScanner judges the head of one response after the other. It belongs to
// one connection, and to one goroutine at a time.
type ResponseScanner struct {
	limits  *Limits
	at      int // bytes of whole lines that were judged
	first   bool
	lines   int
	head    ResponseHead
	framing framing
}

// Reset makes the scanner ready for the next head; l is kept, not copied.
func (s *ResponseScanner) Reset(l *Limits) {
	*s = ResponseScanner{limits: l, first: true, head: ResponseHead{ContentLength: -2}, framing: framing{length: -2}}
}

// Head is what is known of the head; all of it once Scan says done.
func (s *ResponseScanner) Head() *ResponseHead { return &s.head }

// Scan judges a head. buf holds all that has come of it since Reset, and may hold
// what follows; Scan goes on where it stopped. The error is a *Violation.
func (s *ResponseScanner) Scan(buf []byte) (done bool, err error) {
	for {
		i := bytes.IndexByte(buf[s.at:], '\n')
		if i < 0 {
			if len(buf) > s.limits.Header {
				return false, errHeadLong
			}
			return false, nil
		}
		end := s.at + i
		if end+1 > s.limits.Header {
			return false, errHeadLong
		}
		if i == 0 || buf[end-1] != '\r' {
			return false, errBareLF
		}
		line := buf[s.at : end-1]
		s.at = end + 1
		done, v := s.line(line)
		if v != nil {
			return false, v
		}
		if done {
			s.head.Bytes = s.at
			return true, nil
		}
	}
}

func (s *ResponseScanner) line(line []byte) (done bool, v *Violation) {
	if s.first {
		s.first = false
		return false, s.statusLine(line)
	}
	if len(line) == 0 {
		return true, s.endHead()
	}
	if s.lines++; s.lines > s.limits.Headers {
		return false, errHeadLines
	}
	f, v := parseField(line, OddAllow)
	if v != nil {
		return false, v
	}
	return false, s.framing.note(&f)
}

// statusLine reads HTTP/1.x SP status SP reason (RFC 9112 §4). An empty reason may
// come without its space: many do, and nobody reads that in two ways.
func (s *ResponseScanner) statusLine(line []byte) *Violation {
	const version = len("HTTP/1.1")
	const least = version + len(" 200")
	if len(line) < least || line[version] != ' ' || len(line) > least && line[least] != ' ' {
		return errStatusLine
	}
	switch string(line[:version]) {
	case "HTTP/1.1":
		s.head.Minor = 1
	case "HTTP/1.0":
	default:
		return errVersion
	}
	for _, c := range line[version+1 : least] {
		if c < '0' || c > '9' {
			return errStatus
		}
		s.head.Status = s.head.Status*10 + int(c-'0')
	}
	if s.head.Status < 100 || s.head.Status > 599 {
		return errStatus
	}
	if !ValidFieldValue(line[least:]) {
		return errStatusLine
	}
	return nil
}

func (s *ResponseScanner) endHead() *Violation {
	h, fr := &s.head, &s.framing
	h.Names, h.ContentLength = fr.names, fr.length
	h.Close = fr.names.Has(NameConnectionClose) || h.Minor == 0 && !fr.names.Has(NameConnectionKeepAlive)
	switch {
	case fr.names.Has(NameTransferEncoding) && fr.names.Has(NameContentLength):
		return errLengthAndCoding
	case fr.names.Has(NameTransferEncoding) && h.Minor == 0:
		return errCodingOld
	}
	return nil
}
