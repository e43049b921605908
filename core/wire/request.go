package wire

import "bytes"

// RequestHead is what the scanner found in a request's head.
type RequestHead struct {
	Minor         uint8 // of the version: 0 or 1
	Names         Names
	ContentLength int64 // -1 chunked, -2 no body
	AbsoluteForm  bool  // the target is an http URL; its authority equals Host
	Asterisk      bool  // OPTIONS *
	Lines         int   // field lines
	Bytes         int   // of the whole head, its empty line included
}

// RequestScanner judges the bytes of one request after the other, in whatever
// pieces they come. It belongs to one connection, and to one goroutine at a time.
// Reset it before the first request, and after each that is Done.
type RequestScanner struct {
	limits  *Limits
	state   requestState
	started bool
	skipped bool // the one empty line before the request was taken
	head    RequestHead
	framing framing
	lines   collector
	left    int64 // bytes of a body of known length
	chunks  chunks

	authority [maxHost]byte // of an absolute-form, to be compared with Host
	authLen   int
}

type requestState uint8

const (
	atRequestLine requestState = iota
	atFields
	inBody
	inChunks
	atEnd
)

// Reset makes the scanner ready for the next request; l is kept, not copied.
func (s *RequestScanner) Reset(l *Limits) {
	s.lines.reset()
	s.limits, s.state, s.started, s.skipped = l, atRequestLine, false, false
	s.head = RequestHead{ContentLength: -2}
	s.framing = framing{length: -2}
	s.authLen = 0
}

// Started says whether a byte of the request has come.
func (s *RequestScanner) Started() bool { return s.started }

// HeadDone says whether the whole head has come.
func (s *RequestScanner) HeadDone() bool { return s.state > atFields }

// Done says whether the whole request has come.
func (s *RequestScanner) Done() bool { return s.state == atEnd }

// Head is what is known of the head; all of it once HeadDone. It is overwritten
// by Reset.
func (s *RequestScanner) Head() *RequestHead { return &s.head }

// Scan judges further bytes of the request. It returns how many of them are good,
// and never goes beyond the request's last one: what follows belongs to the next.
// The error is a *Violation; the request is lost then, and so is the connection.
func (s *RequestScanner) Scan(p []byte) (int, error) {
	n := 0
	for n < len(p) && s.state != atEnd {
		m, v := s.step(p[n:])
		n += m
		if v != nil {
			return n, v
		}
	}
	return n, nil
}

// step takes the next line, or the next piece of a body.
func (s *RequestScanner) step(p []byte) (int, *Violation) {
	switch s.state {
	case inBody:
		n := int(min(int64(len(p)), s.left))
		if s.left -= int64(n); s.left == 0 {
			s.state = atEnd
		}
		return n, nil
	case inChunks:
		n, done, v := s.chunks.scan(p)
		if done {
			s.state = atEnd
		}
		return n, v
	}
	if !s.started {
		if p[0] != '\r' && !is(p[0], tchar) {
			return 0, errFirstByte
		}
		s.started = true
	}
	line, n, whole, v := s.lines.line(p)
	if v == nil {
		v = s.tooLong(len(line), whole)
	}
	switch {
	case v != nil:
	case !whole:
		return n, nil
	case s.state == atRequestLine:
		s.head.Bytes += len(line) + 2
		v = s.requestLine(line)
	default:
		s.head.Bytes += len(line) + 2
		v = s.fieldLine(line)
	}
	if v != nil {
		return 0, v
	}
	return n, nil
}

// beside is what a request line may hold beside its target: the longest method,
// the version and two spaces.
const beside = longestMethod + len(" HTTP/1.1") + 1

// tooLong judges the length of a line before anything else is looked at, so that a
// line in pieces gets the verdict that it would get whole.
func (s *RequestScanner) tooLong(length int, whole bool) *Violation {
	if !whole {
		length = len(s.lines.partial)
	}
	switch {
	case s.state == atRequestLine && length > s.limits.URI+beside:
		return errTargetLong
	case s.head.Bytes+length > s.limits.Header:
		return errHeadLong
	}
	return nil
}

const longestMethod = 24

// requestLine reads METHOD SP target SP HTTP/1.x (RFC 9112 §3). One empty line
// before it is passed over (§2.2).
func (s *RequestScanner) requestLine(line []byte) *Violation {
	if len(line) == 0 && !s.skipped {
		s.skipped, s.started = true, false
		return nil
	}
	first, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if first < 0 || first == last {
		return errRequestLine
	}
	method, target, version := line[:first], line[first+1:last], line[last+1:]
	if !validMethod(method) {
		return errMethod
	}
	switch string(version) {
	case "HTTP/1.1":
		s.head.Minor = 1
	case "HTTP/1.0":
	default:
		return errVersion
	}
	if len(target) > s.limits.URI {
		return errTargetLong
	}
	if len(target) == 0 {
		return errRequestLine
	}
	if !all(target, visible) {
		return errTarget
	}
	s.state = atFields
	return s.target(method, target)
}

func validMethod(method []byte) bool {
	if len(method) == 0 || len(method) > longestMethod {
		return false
	}
	for _, c := range method {
		if !is(c, tchar) || c >= 'a' && c <= 'z' {
			return false
		}
	}
	return true
}

// target judges the form of the target (RFC 9112 §3.2).
func (s *RequestScanner) target(method, target []byte) *Violation {
	switch {
	case string(method) == "CONNECT": // refused later, with 405
		return nil
	case target[0] == '/':
		return nil
	case len(target) == 1 && target[0] == '*' && string(method) == "OPTIONS":
		s.head.Asterisk = true
		return nil
	}
	scheme := bytes.IndexByte(target, ':')
	if scheme < 0 || !folds(target[:scheme], "http") && !folds(target[:scheme], "https") {
		return errTargetForm
	}
	rest, ok := bytes.CutPrefix(target[scheme:], []byte("://"))
	if !ok {
		return errTargetForm
	}
	if end := bytes.IndexAny(rest, "/?"); end >= 0 {
		rest = rest[:end]
	}
	if len(rest) == 0 || len(rest) > len(s.authority) {
		return errTargetForm
	}
	s.authLen = copy(s.authority[:], rest)
	s.head.AbsoluteForm = true
	return nil
}

// fieldLine reads a field line, or the empty line that ends the head.
func (s *RequestScanner) fieldLine(line []byte) *Violation {
	if len(line) == 0 {
		return s.endHead()
	}
	if s.head.Lines++; s.head.Lines > s.limits.Headers {
		return errHeadLines
	}
	f, v := parseField(line, s.limits.OddNames)
	if v != nil {
		return v
	}
	again := s.framing.names & f.bits
	if v := s.framing.note(&f); v != nil {
		return v
	}
	switch f.bits {
	case NameHost:
		return s.host(f.value, again != 0)
	case NameContentType:
		if again != 0 {
			return errTypeTwice
		}
	case NameExpect:
		if !folds(f.value, "100-continue") {
			return errExpect
		}
	}
	return nil
}

// host judges Host: one, of RFC 3986's grammar, and the one that an absolute-form
// names (SECURITY C7).
func (s *RequestScanner) host(value []byte, again bool) *Violation {
	if again {
		return errHostTwice
	}
	if len(value) == 0 {
		return errHostMissing
	}
	if v := checkHost(value); v != nil {
		return v
	}
	if s.head.AbsoluteForm && !bytes.EqualFold(value, s.authority[:s.authLen]) {
		return errTargetForm
	}
	return nil
}

// endHead judges what the fields say together.
func (s *RequestScanner) endHead() *Violation {
	h, fr := &s.head, &s.framing
	h.Names = fr.names
	h.ContentLength = fr.length
	switch {
	case !fr.names.Has(NameHost) && (h.Minor == 1 || h.AbsoluteForm):
		return errHostMissing
	case fr.names.Has(NameTransferEncoding) && fr.names.Has(NameContentLength):
		return errLengthAndCoding
	case fr.names.Has(NameTransferEncoding) && h.Minor == 0:
		return errCodingOld
	case fr.names.Has(NameExpect) && h.Minor == 0:
		return errExpectOld
	}
	switch {
	case fr.length > 0:
		s.state, s.left = inBody, fr.length
	case fr.length == -1:
		s.state = inChunks
		s.chunks.reset(s.limits, true)
	default:
		s.state = atEnd
	}
	return nil
}
