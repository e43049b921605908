package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/upstream"
	"github.com/suuupra/gateway/core/wire"
)

// maximumInterim is how many interim answers may come before the final one.
const maximumInterim = 100

var (
	// errHeadTooLarge says that an answer's head does not fit into the buffer.
	errHeadTooLarge = errors.New("the head of the answer is too large")
	// errInterim says that interim answers did not end.
	errInterim = errors.New("too many interim answers")
	// errUpgrade says that the service switched protocols unasked (SECURITY C5).
	errUpgrade = errors.New("the service switched protocols, which nobody had asked for")
)

// readHead reads answers until the final one's head stands in x.Response, and
// passes interim ones on. With one set it returns after the first interim
// answer too; headRead says which it was.
func (t *trip) readHead(c *conn, one bool) failure {
	for {
		if f := t.scanHead(c); f.err != nil {
			return f
		}
		head := c.answer.Head()
		if head.Status == fasthttp.StatusSwitchingProtocols {
			return t.readSwitch(c)
		}
		// From here on the response holds fields that are not ours: a fault drops them.
		t.x.FromService = true
		if err := t.x.Response.Header.Read(c.br); err != nil {
			return badAnswer(fmt.Errorf("parsing the answer's head: %w", err))
		}
		if head.Status >= fasthttp.StatusOK {
			t.headRead = true
			return failure{}
		}
		if t.interims++; t.interims > maximumInterim {
			return badAnswer(errInterim)
		}
		if err := t.passInterim(head); err != nil {
			return failure{err: errClientGone}
		}
		if one {
			return failure{}
		}
	}
}

// scanHead waits for a whole head and has the strict scanner judge it. Nothing of
// it is taken from the reader.
func (t *trip) scanHead(c *conn) failure {
	err := c.scanHead(t.proxy.limits)
	switch {
	case err == nil:
		return failure{}
	case malformed(err):
		return badAnswer(err)
	case c.br.Buffered() > 0 && (errors.Is(err, io.EOF) || !errors.Is(err, errTimeout) && !errors.Is(err, errClientGone)):
		// Nothing of it reached the client, so it is no more than a reset.
		f := badAnswer(fmt.Errorf("the answer's head ended early: %w", err))
		f.kind = upstream.OnReset
		return f
	default:
		return t.lost(c, err)
	}
}

// scanHead does that for whoever uses the connection.
func (c *conn) scanHead(l *wire.Limits) error {
	c.answer.Reset(l)
	for need := 1; ; need = c.br.Buffered() + 1 {
		_, err := c.br.Peek(need)
		if buffered := c.br.Buffered(); buffered >= need {
			head, _ := c.br.Peek(buffered) // what is buffered can be peeked
			done, violation := c.answer.Scan(head)
			switch {
			case violation != nil:
				return fmt.Errorf("the answer's head: %w", violation)
			case done:
				return nil
			}
			continue
		}
		if err == bufio.ErrBufferFull {
			return errHeadTooLarge
		}
		return err
	}
}

// malformed says whether err is of an answer that is none.
func malformed(err error) bool {
	var violation *wire.Violation
	return errors.As(err, &violation) || errors.Is(err, errHeadTooLarge) || errors.Is(err, errInterim) || errors.Is(err, errUpgrade)
}

// passInterim sends a 1xx answer on. 100 is none of the client's business: the
// server has answered its Expect before the request came here.
func (t *trip) passInterim(head *wire.ResponseHead) error {
	x := t.x
	if head.Status == fasthttp.StatusContinue || x.Head.Minor == 0 {
		return nil
	}
	stripAnswer(&x.Response.Header, head.Names)
	x.Route.Chain.Interim(&x.Response.Header)
	if err := x.Down.Interim(head.Status, &x.Response.Header); err != nil {
		return fmt.Errorf("passing on an interim answer: %w", err)
	}
	return nil
}

const answerHopByHop = wire.NameConnection | wire.NameKeepAlive | wire.NameProxyConnection | wire.NameProxyAuth |
	wire.NameTE | wire.NameUpgrade | wire.NameTrailer

// stripAnswer removes from an answer what belongs to the connection it came by
// and what the gateway sets itself.
func stripAnswer(h *fasthttp.ResponseHeader, names wire.Names) {
	// Reset, not set: fasthttp takes the empty ones for the usual ones and writes
	// a status line that it has ready.
	h.SetProtocol(nil)
	if string(h.StatusMessage()) == fasthttp.StatusMessage(h.StatusCode()) {
		h.SetStatusMessage(nil)
	}
	h.SetNoDefaultContentType(true)
	h.ResetConnectionClose()
	if !names.Has(answerHopByHop | wire.NameXCorrelationID) {
		return
	}
	if names.Has(wire.NameConnection) {
		if names.Has(wire.NameConnectionOther) {
			stripNamed(h, h.PeekAll(fasthttp.HeaderConnection))
		}
		h.DelBytes(connectionName)
	}
	if names.Has(wire.NameTrailer) {
		_ = h.SetTrailerBytes(nil) // the empty list holds no forbidden name
	}
	if names.Has(wire.NameTE) {
		h.DelBytes(teName)
	}
	if names.Has(wire.NameXCorrelationID) {
		h.DelBytes(correlationName)
	}
	for _, f := range hopFields {
		if names.Has(f.bit) {
			for _, name := range f.names {
				h.DelBytes(name)
			}
		}
	}
}

// noBody says whether an answer has no body whatever its fields say (RFC 9112 §6.3).
func noBody(status int, head bool) bool {
	return head || status == fasthttp.StatusNoContent || status == fasthttp.StatusNotModified
}

// deliver makes the answer whose head was read the exchange's.
func (t *trip) deliver() pipeline.Verdict {
	x, c := t.x, t.conn
	head := c.answer.Head()
	stripAnswer(&x.Response.Header, head.Names)
	isHead := x.Request.Header.IsHead()
	switch length := head.ContentLength; {
	case noBody(head.Status, isHead):
		// A length in a 204 is a contradiction: what follows may be its body.
		doubt := head.Status == fasthttp.StatusNoContent && (length > 0 || length == chunked)
		t.giveBack(!doubt)
		return pipeline.Continue
	case length >= 0 && length <= x.Route.Buffer:
		return t.bufferKnown(int(length))
	case length == chunked:
		if size, whole := wholeChunks(c.br); whole && int64(size) <= x.Route.Buffer {
			return t.bufferChunks(size)
		}
	}
	if head.Status == fasthttp.StatusSwitchingProtocols {
		return t.switchOver()
	}
	t.startStream(head)
	return pipeline.Continue
}

// bufferKnown reads a short body into the response.
func (t *trip) bufferKnown(length int) pipeline.Verdict {
	x, c := t.x, t.conn
	body := slices.Grow(x.Response.SwapBody(nil)[:0], length)[:length]
	if c.br.Buffered() < length {
		c.readDue = t.idleDue()
	}
	n, err := io.ReadFull(c.br, body)
	x.Response.SwapBody(body[:n])
	if err != nil {
		return t.broken(fmt.Errorf("reading the answer's body, %d of %d bytes: %w", n, length, err))
	}
	x.BytesOut = int64(length)
	t.giveBack(true)
	return pipeline.Continue
}

// bufferChunks decodes a chunked body that is here whole. Sent with its length, it
// leaves in one write instead of two.
func (t *trip) bufferChunks(size int) pipeline.Verdict {
	x, c := t.x, t.conn
	body := slices.Grow(x.Response.SwapBody(nil)[:0], size+1)[:size+1]
	c.chunks.Reset(c.br, t.proxy.limits)
	n, err := 0, error(nil)
	for err == nil && n < len(body) {
		var m int
		m, err = c.chunks.Read(body[n:])
		n += m
	}
	x.Response.SwapBody(body[:n])
	if err != io.EOF {
		return t.broken(fmt.Errorf("decoding the answer's body: %w", err))
	}
	x.Response.Header.SetContentLength(n)
	x.BytesOut = int64(n)
	t.giveBack(true)
	return pipeline.Continue
}

// wholeChunks looks, without waiting, whether a chunked body without trailers
// stands in the reader whole, and how long it is. Anything it does not
// understand it leaves to the strict decoder.
func wholeChunks(br *bufio.Reader) (size int, whole bool) {
	b, _ := br.Peek(br.Buffered()) // what is buffered can be peeked
	for {
		n, digits := 0, 0
		for digits < len(b) && digits < 7 {
			d, ok := hexDigit(b[digits])
			if !ok {
				break
			}
			n = n<<4 | d
			digits++
		}
		if digits == 0 || !bytes.HasPrefix(b[digits:], crlf) {
			return 0, false
		}
		b = b[digits+2:]
		if n == 0 {
			return size, bytes.HasPrefix(b, crlf)
		}
		if len(b) < n+2 {
			return 0, false
		}
		size += n
		b = b[n+2:]
	}
}

var crlf = []byte("\r\n")

func hexDigit(c byte) (int, bool) {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0'), true
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10, true
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10, true
	}
	return 0, false
}
