package wire

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var testLimits = &Limits{URI: 1 << 10, Header: 4 << 10, Headers: 20}

// scanAll scans raw in pieces of the given sizes (the last one repeats) and
// returns what was passed and the verdict.
func scanAll(s *RequestScanner, raw string, sizes ...int) (passed int, err error) {
	s.Reset(testLimits)
	for i := 0; len(raw) > passed && !s.Done(); i++ {
		size := len(raw) - passed
		if len(sizes) > 0 {
			size = min(size, sizes[min(i, len(sizes)-1)])
		}
		n, err := s.Scan([]byte(raw[passed : passed+size]))
		passed += n
		if err != nil {
			return passed, err
		}
		if n < size && !s.Done() {
			return passed, errors.New("bytes were left without a reason")
		}
	}
	return passed, nil
}

// get is a head with one more line.
func get(line string) string { return "GET /a HTTP/1.1\r\nHost: h\r\n" + line + "\r\n\r\n" }

// post is a head with framing lines, and a body.
func post(lines, body string) string {
	return "POST /a HTTP/1.1\r\nHost: h\r\n" + lines + "\r\n\r\n" + body
}

func chunked(body string) string { return post("Transfer-Encoding: chunked", body) }

// refusals are requests with the one reason they are refused for: PX3, SECURITY C2
// to C4 and C7, and every line of what fasthttp's parser lets through.
var refusals = []struct {
	raw  string
	want *Violation
}{
	{"\x16\x03\x01 TLS", errFirstByte},
	{" GET /a HTTP/1.1\r\n", errFirstByte},
	{"\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n", errRequestLine},
	{"GET /a\r\n", errRequestLine},
	{"GET  HTTP/1.1\r\n", errRequestLine},
	{"G@T /a HTTP/1.1\r\n", errMethod},
	{"get /a HTTP/1.1\r\n", errMethod},
	{strings.Repeat("A", 25) + " /a HTTP/1.1\r\n", errMethod},
	{"GET /a HTTP/1.9\r\n", errVersion},
	{"GET /a HTTP/2.0\r\n", errVersion},
	{"GET /a http/1.1\r\n", errVersion},
	{"PRI * HTTP/2.0\r\n\r\n", errVersion},
	{"GET /a b HTTP/1.1\r\n", errTarget},
	{"GET  /a HTTP/1.1\r\n", errTarget},
	{"GET /a\x00 HTTP/1.1\r\n", errTarget},
	{"GET /a\t HTTP/1.1\r\n", errTarget},
	{"GET /a\x80 HTTP/1.1\r\n", errTarget},
	{"GET /a#b HTTP/1.1\r\n", errTarget},
	{"GET a HTTP/1.1\r\n", errTargetForm},
	{"GET * HTTP/1.1\r\n", errTargetForm},
	{"GET ftp://h/a HTTP/1.1\r\n", errTargetForm},
	{"GET http:/a HTTP/1.1\r\n", errTargetForm},
	{"GET http:///a HTTP/1.1\r\n", errTargetForm},
	{"GET http://evil/a HTTP/1.1\r\nHost: h\r\n", errTargetForm},
	{"GET http://u:p@h/a HTTP/1.1\r\nHost: h\r\n", errTargetForm},
	{"GET http://h:80/a HTTP/1.1\r\nHost: h\r\n", errTargetForm},
	{"GET /" + strings.Repeat("a", 1<<10) + " HTTP/1.1\r\n", errTargetLong},
	{"GET /" + strings.Repeat("a", 2<<10), errTargetLong},
	{get("X: " + strings.Repeat("a", 4<<10)), errHeadLong},
	{get(strings.Repeat("X: y\r\n", 20) + "X: y"), errHeadLines},
	{"GET /a HTTP/1.1\nHost: h\n\n", errBareLF},
	{get("X: y\nZ: z"), errBareLF},
	{get("X: y\r\n z"), errFold},
	{get("X: y\r\n\tz"), errFold},
	{get("X: y\rz"), errValue},
	{get("X: \x00"), errValue},
	{get("X: aaaaaaaaaaa\x01aaaaaaaa"), errValue},
	{get("X: \x7f"), errValue},
	{get("X : y"), errNameSpace},
	{get("X\t: y"), errNameSpace},
	{get("X A: y"), errNameSpace},
	{get("Content Length: 3"), errNameSpace},
	{get(": y"), errName},
	{get("X(: y"), errName},
	{get("X\x80: y"), errName},
	{get("X"), errNoColon},
	{get("Content_Length: 3"), errLookAlike},
	{get("Transfer.Encoding: chunked"), errLookAlike},
	{"GET /a HTTP/1.1\r\n\r\n", errHostMissing},
	{"GET /a HTTP/1.1\r\nHost:\r\n\r\n", errHostMissing},
	{"GET http://h/a HTTP/1.0\r\n\r\n", errHostMissing},
	{get("host: h"), errHostTwice},
	{"GET /a HTTP/1.1\r\nHost: h,x\r\n", errHost},
	{"GET /a HTTP/1.1\r\nHost: h/x\r\n", errHost},
	{"GET /a HTTP/1.1\r\nHost: h x\r\n", errHost},
	{"GET /a HTTP/1.1\r\nHost: h:x\r\n", errHost},
	{"GET /a HTTP/1.1\r\nHost: u:p@h\r\n", errHost},
	{post("Content-Length: 3\r\nTransfer-Encoding: chunked", ""), errLengthAndCoding},
	{post("Transfer-Encoding: chunked\r\nContent-Length: 3", ""), errLengthAndCoding},
	{post("Transfer-Encoding: identity\r\nContent-Length: 3", ""), errCoding},
	{post("Transfer-Encoding: gzip, chunked", ""), errCoding},
	{post("Transfer-Encoding: chunked, chunked", ""), errCoding},
	{post("Transfer-Encoding: \x0bchunked", ""), errValue},
	{post("Transfer-Encoding:", ""), errCoding},
	{post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", ""), errCodingTwice},
	{"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", errCodingOld},
	{post("Content-Length: 3\r\nContent-Length: 3", ""), errLengthTwice},
	{post("Content-Length: 3, 3", ""), errLength},
	{post("Content-Length: +3", ""), errLength},
	{post("Content-Length: -3", ""), errLength},
	{post("Content-Length: 0x3", ""), errLength},
	{post("Content-Length: 03", ""), errLength},
	{post("Content-Length: 00", ""), errLength},
	{post("Content-Length:", ""), errLength},
	{post("Content-Length: 9999999999999999999", ""), errLength},
	{post("Content-Type: a/b\r\nContent-Type: a/b", ""), errTypeTwice},
	{get("Connection: close, Host"), errConnection},
	{get("Connection: close\r\nConnection: x-api-key"), errConnection},
	{get("Connection: AUTHORIZATION"), errConnection},
	{get("Connection: content-length,"), errConnection},
	{get("Connection: a b"), errConnectionList},
	{post("Expect: 200-ok", ""), errExpect},
	{"POST /a HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\n\r\n", errExpectOld},
	{chunked("x\r\n"), errChunkSize},
	{chunked("\r\n"), errChunkSize},
	{chunked(";a\r\n"), errChunkSize},
	{chunked("3 \r\nabc\r\n0\r\n\r\n"), errChunkSize},
	{chunked("0x3\r\nabc\r\n0\r\n\r\n"), errChunkSize},
	{chunked("3\nabc"), errChunkSize},
	{chunked("3\r\rabc"), errChunkSize},
	{chunked("1234567890abcdef0\r\n"), errChunkLarge},
	{chunked("3;a=\x01\r\n"), errChunkExtension},
	{chunked("3;a\nabc"), errChunkExtension},
	{chunked("3;" + strings.Repeat("a", 5000) + "\r\n"), errChunkExtensions},
	{chunked("3\r\nabcd\r\n"), errChunkEnd},
	{chunked("3\r\nabc\n0\r\n\r\n"), errChunkEnd},
	{chunked("3\r\nabc\r0\r\n\r\n"), errChunkEnd},
	{chunked("0\r\nX-User-ID: me\r\n\r\n"), errTrailer},
	{chunked("0\r\nX_User_ID: me\r\n\r\n"), errTrailer},
	{chunked("0\r\nAuthorization: me\r\n\r\n"), errTrailer},
	{chunked("0\r\nContent-Length: 3\r\n\r\n"), errTrailer},
	{chunked("0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"), errTrailer},
	{chunked("0\r\nX y\r\n\r\n"), errNameSpace},
	{chunked("0\r\nX: y\n\r\n"), errBareLF},
	{chunked("0\r\n" + strings.Repeat("X: y\r\n", 21) + "\r\n"), errHeadLines},
	{chunked("0\r\nX: " + strings.Repeat("y", 5000)), errHeadLong},
}

func TestC2_WhatIsAmbiguousIsRefused(t *testing.T) {
	t.Parallel()
	var s RequestScanner
	for _, c := range refusals {
		passed, err := scanAll(&s, c.raw)
		var got *Violation
		if !errors.As(err, &got) || got != c.want {
			t.Errorf("%.80q: got %v, want %v", c.raw, err, c.want)
		}
		if i := strings.Index(c.raw, "\r\n\r\n"); i >= 0 && s.HeadDone() != (passed >= i+4) {
			t.Errorf("%.80q: passed %d bytes, head done %v", c.raw, passed, s.HeadDone())
		}
	}
}

func TestC2_OddNamesAreRefusedOnRequest(t *testing.T) {
	t.Parallel()
	strict := *testLimits
	strict.OddNames = OddRefuse
	var s RequestScanner
	s.Reset(&strict)
	if _, err := s.Scan([]byte(get("X_A: b"))); !errors.Is(err, errOddName) {
		t.Errorf("got %v, want %v", err, errOddName)
	}
}

func TestC3_AllowedOddNamesAreSpoofsStill(t *testing.T) {
	t.Parallel()
	lenient := *testLimits
	lenient.OddNames = OddAllow
	var s RequestScanner
	s.Reset(&lenient)
	if _, err := s.Scan([]byte(get("X_A: b\r\nX_User_ID: c"))); err != nil || s.Head().Names != NameHost|NameSpoofed {
		t.Errorf("%b, %v", s.Head().Names, err)
	}
}

// acceptances are whole requests with what the scanner says of them.
var acceptances = []struct {
	raw  string
	want RequestHead
}{
	{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", RequestHead{Minor: 1, Names: NameHost, ContentLength: -2, Lines: 1}},
	{"\r\nGET / HTTP/1.1\r\nHost: h:80\r\n\r\n", RequestHead{Minor: 1, Names: NameHost, ContentLength: -2, Lines: 1}},
	{"GET / HTTP/1.0\r\n\r\n", RequestHead{ContentLength: -2}},
	{"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", RequestHead{Minor: 1, Names: NameHost, ContentLength: -2, Lines: 1, Asterisk: true}},
	{"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", RequestHead{Minor: 1, Names: NameHost, ContentLength: -2, Lines: 1}},
	{"GET HTTP://H:1/a?b HTTP/1.1\r\nHost: h:1\r\n\r\n", RequestHead{Minor: 1, Names: NameHost, ContentLength: -2, Lines: 1, AbsoluteForm: true}},
	{"GET http://h?b HTTP/1.1\r\nHost: h\r\n\r\n", RequestHead{Minor: 1, Names: NameHost, ContentLength: -2, Lines: 1, AbsoluteForm: true}},
	{"FOO-BAR /a HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", RequestHead{Minor: 1, Names: NameHost, ContentLength: -2, Lines: 1}},
	{get("X:\t\x80\xff \t"), RequestHead{Minor: 1, Names: NameHost, ContentLength: -2, Lines: 2}},
	{get("Cookie: a\r\nCookie: b"), RequestHead{Minor: 1, Names: NameHost | NameCookie, ContentLength: -2, Lines: 3}},
	{get("X_A: b"), RequestHead{Minor: 1, Names: NameHost | NameOdd, ContentLength: -2, Lines: 2}},
	{get("X_User.ID: b"), RequestHead{Minor: 1, Names: NameHost | NameOdd | NameSpoofed, ContentLength: -2, Lines: 2}},
	{get("x-gateway_x: b"), RequestHead{Minor: 1, Names: NameHost | NameOdd | NameSpoofed, ContentLength: -2, Lines: 2}},
	{get("X-GATEWAY-x: b"), RequestHead{Minor: 1, Names: NameHost | NameReserved, ContentLength: -2, Lines: 2}},
	{get("X-Client-Id: b"), RequestHead{Minor: 1, Names: NameHost | NameReserved, ContentLength: -2, Lines: 2}},
	{get("Connection: , keep-alive , X-A,"), RequestHead{Minor: 1, Names: NameHost | NameConnection | NameConnectionKeepAlive | NameConnectionOther, ContentLength: -2, Lines: 2}},
	{get("CONNECTION: Close"), RequestHead{Minor: 1, Names: NameHost | NameConnection | NameConnectionClose, ContentLength: -2, Lines: 2}},
	{post("Content-Length: 0", ""), RequestHead{Minor: 1, Names: NameHost | NameContentLength, ContentLength: 0, Lines: 2}},
	{post("Content-Length: 3\r\nExpect: 100-Continue", "abc"), RequestHead{Minor: 1, Names: NameHost | NameContentLength | NameExpect, ContentLength: 3, Lines: 3}},
	{post("Transfer-Encoding: Chunked", "3;a=\"b\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"),
		RequestHead{Minor: 1, Names: NameHost | NameTransferEncoding, ContentLength: -1, Lines: 2}},
}

func TestWellFormedRequestsPass(t *testing.T) {
	t.Parallel()
	var s RequestScanner
	for _, c := range acceptances {
		passed, err := scanAll(&s, c.raw+"GET /next HTTP/1.1\r\n")
		if err != nil || passed != len(c.raw) || !s.Done() || !s.HeadDone() || !s.Started() {
			t.Errorf("%.80q: passed %d of %d, done %v, %v", c.raw, passed, len(c.raw), s.Done(), err)
			continue
		}
		got := *s.Head()
		c.want.Bytes = strings.Index(c.raw[1:], "\r\n\r\n") + 5
		if got != c.want {
			t.Errorf("%.80q:\n got %+v\nwant %+v", c.raw, got, c.want)
		}
	}
}

// TestVerdictsDoNotDependOnSplits is what makes the scanner safe behind a socket,
// whose reads end anywhere.
func TestVerdictsDoNotDependOnSplits(t *testing.T) {
	t.Parallel()
	var all []string
	for _, c := range refusals {
		all = append(all, c.raw)
	}
	for _, c := range acceptances {
		all = append(all, c.raw)
	}
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SampledFrom(all).Draw(t, "raw")
		sizes := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 8).Draw(t, "sizes")
		var whole, split RequestScanner
		n, want := scanAll(&whole, raw)
		m, got := scanAll(&split, raw, sizes...)
		if want != got || want == nil && n != m {
			t.Fatalf("whole: %d, %v; split: %d, %v", n, want, m, got)
		}
		if *whole.Head() != *split.Head() {
			t.Fatalf("whole: %+v\nsplit: %+v", *whole.Head(), *split.Head())
		}
	})
}

func TestC3_ReservedNamesInEverySpelling(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"X-User-ID": true, "x_user_id": true, "X.User-Id": true, "X-Gateway-Anything": true, "x_gateway.token": true,
		"X-Forwarded-For": true, "X_Forwarded_Host": true, "Forwarded": true, "X-Real_IP": true, "True.Client.IP": true,
		"X-User-Identity": false, "X-Gateway": false, "User-Agent": false, "": false, "X-User-I": false,
		strings.Repeat("X", 100): false, "X-Gateway-" + strings.Repeat("y", 100): true,
	} {
		if got := Reserved([]byte(name)); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

func TestFieldCharacters(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		value := []byte("0123456789abcdef")
		value[c%16] = byte(c)
		valid := c == '\t' || c >= ' ' && c != 0x7f
		if got := ValidFieldValue(value); got != valid {
			t.Errorf("value with %#x: %v", c, got)
		}
		token := strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~", rune(c)) && c < 0x80
		if got := ValidFieldName([]byte{'a', byte(c)}); got != token {
			t.Errorf("name with %#x: %v", c, got)
		}
	}
	if ValidFieldName(nil) {
		t.Error("the empty name is valid")
	}
}
