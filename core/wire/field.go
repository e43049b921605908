package wire

import "bytes"

// field is one field line, cut in two.
type field struct {
	name, value []byte // value without white space around it
	bits        Names
}

// parseField reads a field line without its CRLF.
func parseField(line []byte, odd OddNames) (field, *Violation) {
	if line[0] == ' ' || line[0] == '\t' {
		return field{}, errFold
	}
	i, seen := 0, tchar|plain
	for i < len(line) && is(line[i], tchar) {
		seen &= classes[line[i]]
		i++
	}
	switch {
	case i == len(line):
		return field{}, errNoColon
	case line[i] == ' ' || line[i] == '\t':
		return field{}, errNameSpace
	case line[i] != ':' || i == 0:
		return field{}, errName
	}
	f := field{name: line[:i], value: trim(line[i+1:])}
	if !ValidFieldValue(f.value) {
		return f, errValue
	}
	if seen&plain != 0 {
		f.bits = lookUp(f.name)
		return f, nil
	}
	if odd == OddRefuse {
		return f, errOddName
	}
	var v *Violation
	if f.bits, v = oddBits(f.name); odd == OddAllow {
		f.bits &^= NameOdd
	}
	return f, v
}

// framing is what a head's fields say about the body, request or response.
type framing struct {
	names   Names
	length  int64 // -1 chunked, -2 not said
	lengths int
}

// note reads the fields that requests and responses have in common.
func (fr *framing) note(f *field) *Violation {
	fr.names |= f.bits
	if f.bits&(NameContentLength|NameTransferEncoding|NameConnection) == 0 {
		return nil
	}
	switch f.bits {
	case NameContentLength:
		if fr.lengths++; fr.lengths > 1 {
			return errLengthTwice
		}
		var v *Violation
		fr.length, v = parseLength(f.value)
		return v
	case NameTransferEncoding:
		if fr.length == -1 {
			return errCodingTwice
		}
		if !folds(f.value, "chunked") {
			return errCoding
		}
		if fr.lengths > 0 {
			return errLengthAndCoding
		}
		fr.length = -1
	case NameConnection:
		bits, v := connectionBits(f.value)
		fr.names |= bits
		return v
	}
	return nil
}

// parseLength reads a Content-Length: digits without a leading zero, below 2⁶³.
// What another parser might round, trim or wrap around is refused.
func parseLength(b []byte) (int64, *Violation) {
	if len(b) == 0 || len(b) > 18 || len(b) > 1 && b[0] == '0' {
		return 0, errLength
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, errLength
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

// collector hands on whole lines of bytes that come in any pieces.
type collector struct {
	partial []byte // the beginning of a line whose end has not come
}

// largestPartial is the largest buffer for split lines that is kept for the next.
const largestPartial = 1 << 10

func (c *collector) reset() {
	if cap(c.partial) > largestPartial {
		c.partial = nil
	}
	c.partial = c.partial[:0]
}

// line returns the first line of p without its CRLF, and how many bytes of p it
// took; ok is false when its end has not come: all of p is kept then, and how much
// of the line there is says len(c.partial).
func (c *collector) line(p []byte) (line []byte, n int, ok bool, v *Violation) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		c.partial = append(c.partial, p...)
		return nil, len(p), false, nil
	}
	line = p[:i+1]
	if len(c.partial) > 0 {
		c.partial = append(c.partial, line...)
		line = c.partial
		c.partial = c.partial[:0]
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, 0, false, errBareLF
	}
	return line[:len(line)-2], i + 1, true, nil
}
