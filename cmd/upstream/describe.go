package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// maxDelay bounds every delay that a caller may ask for.
const maxDelay = 10 * time.Minute

// description is the JSON that names who answered, and what was asked.
type description struct {
	Service  string `json:"service"`
	Endpoint string `json:"endpoint"`
	Method   string `json:"method"`
	Target   string `json:"target"`   // as received, query included
	Received int64  `json:"received"` // bytes of the request body
}

// describe answers any path, and reads the request body to its end, however
// long it is, without keeping it.
func (e *endpoint) describe(ctx *fasthttp.RequestCtx) {
	e.describeAs(ctx, fasthttp.StatusOK)
}

func (e *endpoint) describeAs(ctx *fasthttp.RequestCtx, status int) {
	received, err := discardBody(ctx)
	if err != nil {
		e.refuse(ctx, err)
		return
	}
	answerJSON(ctx, status, description{
		Service:  e.service,
		Endpoint: e.address,
		Method:   string(ctx.Method()),
		Target:   string(ctx.Request.Header.RequestURI()),
		Received: received,
	})
}

// status answers /status/N with status N. Informational statuses can't end a
// request, so they are refused.
func (e *endpoint) status(ctx *fasthttp.RequestCtx) {
	text, _ := ctx.UserValue("n").(string)
	status, err := strconv.Atoi(text)
	if err != nil || status < 200 || status > 599 {
		e.refuse(ctx, fmt.Errorf("status %q: want 200 to 599", text))
		return
	}
	e.describeAs(ctx, status)
}

// slow answers /slow?ms=N after N milliseconds (default 1000); 503 if the
// endpoint stops before.
func (e *endpoint) slow(ctx *fasthttp.RequestCtx) {
	ms, err := number(ctx, "ms", 1000)
	if err != nil {
		e.refuse(ctx, err)
		return
	}
	if !e.wait(delay(ms)) {
		e.describeAs(ctx, fasthttp.StatusServiceUnavailable)
		return
	}
	e.describe(ctx)
}

// health answers 200 or 503, by what POST /health?up=… said last.
func (e *endpoint) health(ctx *fasthttp.RequestCtx) {
	if ctx.IsPost() {
		up, err := strconv.ParseBool(string(ctx.QueryArgs().Peek("up")))
		if err != nil {
			e.refuse(ctx, fmt.Errorf("up=%q: want true or false", ctx.QueryArgs().Peek("up")))
			return
		}
		e.up.Store(up)
	}
	word, status := "ok", fasthttp.StatusOK
	if !e.up.Load() {
		word = "down"
		if !ctx.IsPost() {
			status = fasthttp.StatusServiceUnavailable
		}
	}
	answerJSON(ctx, status, map[string]string{"status": word, "service": e.service, "endpoint": e.address})
}

// refuse answers 400 with what was wrong and closes: the request may not have
// been read to its end.
func (e *endpoint) refuse(ctx *fasthttp.RequestCtx, err error) {
	answerJSON(ctx, fasthttp.StatusBadRequest, map[string]string{
		"service": e.service, "endpoint": e.address, "error": err.Error(),
	})
	ctx.SetConnectionClose()
}

// discardBody reads the request body to its end. A body that ends before the
// length it announced is an error.
func discardBody(ctx *fasthttp.RequestCtx) (int64, error) {
	stream := ctx.RequestBodyStream()
	if stream == nil {
		return 0, nil
	}
	n, err := io.Copy(io.Discard, stream)
	if err != nil {
		return n, fmt.Errorf("read request body after %d bytes: %w", n, err)
	}
	return n, wholeBody(ctx, n)
}

// wholeBody reports a body of n bytes that is shorter than announced: the
// server's stream ends cleanly when the client half-closes.
func wholeBody(ctx *fasthttp.RequestCtx, n int64) error {
	if announced := int64(ctx.Request.Header.ContentLength()); n < announced {
		return fmt.Errorf("request body ended after %d of %d bytes", n, announced)
	}
	return nil
}

// number reads a whole number ≥ -1 from the query; absent means otherwise.
func number(ctx *fasthttp.RequestCtx, name string, otherwise int) (int, error) {
	if !ctx.QueryArgs().Has(name) {
		return otherwise, nil
	}
	text := string(ctx.QueryArgs().Peek(name))
	n, err := strconv.Atoi(text)
	if err != nil || n < -1 {
		return 0, fmt.Errorf("%s=%q: want a whole number", name, text)
	}
	return n, nil
}

// delay turns milliseconds into a duration of 0 to maxDelay.
func delay(ms int) time.Duration {
	limit := int(maxDelay / time.Millisecond)
	return time.Duration(min(max(ms, 0), limit)) * time.Millisecond
}

func answerJSON(ctx *fasthttp.RequestCtx, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil { // only strings and numbers are ever passed
		ctx.Error(err.Error(), fasthttp.StatusInternalServerError)
		return
	}
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	ctx.SetBody(append(body, '\n'))
}
