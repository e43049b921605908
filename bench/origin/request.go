package main

import (
	"bytes"
	"errors"
	"strconv"
)

// request is what the origin wants to know of a request head. Its target is
// borrowed from the buffer it was parsed from.
type request struct {
	target []byte
	body   int  // bytes of the body that follows
	head   bool // the method is HEAD: the answer has no body
	last   bool // the client wants the connection closed afterwards
}

// maxBody is the largest request body in bytes.
const maxBody = 1 << 40

var (
	errIncomplete = errors.New("the head is not complete yet")
	errMalformed  = errors.New("malformed request")
)

// parseRequest reads one request head from the beginning of b and returns its
// length. errIncomplete asks for more bytes; any other error ends the connection.
// It trusts its client as far as a benchmark may: it is no model of strictness.
func parseRequest(b []byte) (r request, length int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return r, 0, errIncomplete
	}
	line, fields, _ := bytes.Cut(b[:end], []byte("\r\n"))
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, ok := bytes.Cut(rest, []byte(" "))
	if !ok || len(target) == 0 {
		return r, 0, errMalformed
	}
	r.target, r.head = target, string(method) == "HEAD"
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		r.last = true
	default:
		return r, 0, errMalformed
	}
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		if err := r.field(line); err != nil {
			return r, 0, err
		}
	}
	return r, end + 4, nil
}

// field takes note of the three fields that matter, told apart by their length
// before their letters are looked at.
func (r *request) field(line []byte) error {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return errMalformed
	}
	switch {
	case len(name) == len("content-length") && bytes.EqualFold(name, []byte("content-length")):
		n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
		if err != nil || n < 0 || n > maxBody {
			return errMalformed
		}
		r.body = n
	case len(name) == len("transfer-encoding") && bytes.EqualFold(name, []byte("transfer-encoding")):
		return errMalformed // every proxy that is compared announces the length it was given
	case len(name) == len("connection") && bytes.EqualFold(name, []byte("connection")):
		r.last = r.last || bytes.EqualFold(bytes.TrimSpace(value), []byte("close"))
	}
	return nil
}
