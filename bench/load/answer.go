package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

const (
	headLimit      = 64 << 10 // bytes of an answer's head, and of its trailers
	chunkLineLimit = 4 << 10  // bytes of a chunk's size line
)

// errDifferent marks an answer that is well formed but not the expected one;
// every other error of an answer is one of its form.
var errDifferent = errors.New("a different answer")

// part is the part of an answer that comes next.
type part uint8

const (
	partHead part = iota
	partBody
	partChunkSize
	partChunk
	partChunkEnd
	partTrailer
	partDone
)

// answer reads one response in pieces of any size. With compare set it checks
// the body against want as it comes, else it collects it in got. The zero value
// with want, status and method set is ready.
type answer struct {
	compare bool
	status  int    // expected; with compare only
	want    []byte // the expected body; with compare only
	got     []byte // the body; without compare only
	noBody  bool   // the request was HEAD

	code     int   // the status of this answer
	close    bool  // the server will close the connection
	part     part  // what comes next
	left     int64 // bytes of the body or chunk still to come; -1 until close
	seen     int   // bytes of the body so far
	hold     []byte
	received int64 // bytes in all
}

// reset makes it ready for the next answer on the connection.
func (a *answer) reset() {
	a.code, a.close, a.part, a.left, a.seen = 0, false, partHead, 0, 0
	a.hold, a.got, a.received = a.hold[:0], a.got[:0], 0
}

// feed takes the next bytes and returns how many belong to the answer. It is
// done when done() says so; an error leaves the answer useless.
func (a *answer) feed(p []byte) (int, error) {
	taken := 0
	for taken < len(p) && a.part != partDone {
		n, err := a.step(p[taken:])
		taken += n
		a.received += int64(n)
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}

func (a *answer) done() bool { return a.part == partDone }

// closed tells it that the connection has ended. It reports whether that ends
// the answer, as it does for a body that lasts until the close.
func (a *answer) closed() bool {
	if a.part != partBody || a.left >= 0 {
		return false
	}
	return a.end() == nil
}

func (a *answer) step(p []byte) (int, error) {
	switch a.part {
	case partHead:
		block, n, err := a.until(p, "\r\n\r\n", headLimit)
		if block == nil || err != nil {
			return n, err
		}
		err = a.readHead(block)
		a.hold = a.hold[:0]
		return n, err
	case partBody, partChunk:
		return a.data(p)
	case partChunkSize:
		line, n, err := a.until(p, "\r\n", chunkLineLimit)
		if line == nil || err != nil {
			return n, err
		}
		err = a.readChunkSize(line)
		a.hold = a.hold[:0]
		return n, err
	case partChunkEnd:
		line, n, err := a.until(p, "\r\n", 2)
		if line != nil {
			a.part, a.hold = partChunkSize, a.hold[:0]
		}
		return n, err
	default: // partTrailer
		line, n, err := a.until(p, "\r\n", headLimit)
		if line == nil || err != nil {
			return n, err
		}
		last := len(line) == 2
		a.hold = a.hold[:0]
		if last {
			err = a.end()
		}
		return n, err
	}
}

// until returns everything up to and including mark, from p itself where it is
// whole there, and collected in hold where it came in pieces. A nil block means
// that more is needed.
func (a *answer) until(p []byte, mark string, limit int) (block []byte, n int, err error) {
	if len(a.hold) == 0 {
		if i := bytes.Index(p, []byte(mark)); i >= 0 && i+len(mark) <= limit {
			return p[:i+len(mark)], i + len(mark), nil
		}
	}
	// The mark may straddle the border: look at the last bytes held as well.
	from := max(0, len(a.hold)-len(mark)+1)
	before := len(a.hold)
	a.hold = append(a.hold, p[:min(len(p), limit-before)]...)
	if i := bytes.Index(a.hold[from:], []byte(mark)); i >= 0 {
		end := from + i + len(mark)
		return a.hold[:end], end - before, nil
	}
	if len(a.hold) >= limit {
		return nil, 0, fmt.Errorf("no end within %d bytes of the answer's head or framing", limit)
	}
	return nil, len(p), nil
}

// readHead takes the status line and the fields that decide how long the
// answer is (RFC 9112 §6.3).
func (a *answer) readHead(block []byte) error {
	line, lines, _ := bytes.Cut(block[:len(block)-2], []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' {
		return fmt.Errorf("no status line: %q", line[:min(len(line), 40)])
	}
	code, err := strconv.Atoi(string(line[9:12]))
	if err != nil || code < 100 || code > 599 {
		return fmt.Errorf("no status: %q", line[:min(len(line), 40)])
	}
	a.code, a.close, a.left = code, line[7] == '0', -1
	chunked := false
	for len(lines) > 0 {
		line, lines, _ = bytes.Cut(lines, []byte("\r\n"))
		isChunked, err := a.readField(line)
		if err != nil {
			return err
		}
		chunked = chunked || isChunked
	}
	switch {
	case code < 200: // interim: the answer is still to come
		a.code = 0
		return nil
	case a.compare && code != a.status:
		return fmt.Errorf("%w: status %d, want %d", errDifferent, code, a.status)
	case a.noBody || code == 204 || code == 304 || a.left == 0 && !chunked:
		return a.end()
	case chunked:
		a.part = partChunkSize
	default:
		a.part = partBody
		a.close = a.close || a.left < 0
	}
	return nil
}

func (a *answer) readField(line []byte) (chunked bool, err error) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return false, fmt.Errorf("no field: %q", line[:min(len(line), 40)])
	}
	value = bytes.TrimSpace(value)
	switch {
	case len(name) == len("content-length") && bytes.EqualFold(name, []byte("content-length")):
		a.left, err = strconv.ParseInt(string(value), 10, 62)
		if err != nil || a.left < 0 {
			return false, fmt.Errorf("no length: %q", line[:min(len(line), 40)])
		}
	case len(name) == len("transfer-encoding") && bytes.EqualFold(name, []byte("transfer-encoding")):
		if !bytes.EqualFold(value, []byte("chunked")) {
			return false, fmt.Errorf("unknown transfer coding %q", value)
		}
		return true, nil
	case len(name) == len("connection") && bytes.EqualFold(name, []byte("connection")):
		a.close = a.close || bytes.EqualFold(value, []byte("close"))
	}
	return false, nil
}

func (a *answer) readChunkSize(line []byte) error {
	digits, _, _ := bytes.Cut(line[:len(line)-2], []byte(";"))
	size, err := strconv.ParseInt(string(bytes.TrimRight(digits, " \t")), 16, 62)
	if err != nil || size < 0 {
		return fmt.Errorf("no chunk size: %q", line[:min(len(line), 40)])
	}
	a.left, a.part = size, partChunk
	if size == 0 {
		a.part = partTrailer
	}
	return nil
}

// data takes bytes of the body.
func (a *answer) data(p []byte) (int, error) {
	if a.left >= 0 {
		p = p[:min(int64(len(p)), a.left)]
		a.left -= int64(len(p))
	}
	if a.compare {
		if len(p) > len(a.want)-a.seen || !bytes.Equal(p, a.want[a.seen:a.seen+len(p)]) {
			return len(p), fmt.Errorf("%w: the body differs after byte %d", errDifferent, a.seen)
		}
	} else {
		a.got = append(a.got, p...)
	}
	a.seen += len(p)
	if a.left == 0 {
		if a.part == partBody {
			return len(p), a.end()
		}
		a.part = partChunkEnd
	}
	return len(p), nil
}

// end is the end of the answer: nothing may be missing.
func (a *answer) end() error {
	a.part = partDone
	if a.compare && a.seen != len(a.want) {
		return fmt.Errorf("%w: %d bytes of body, want %d", errDifferent, a.seen, len(a.want))
	}
	return nil
}
