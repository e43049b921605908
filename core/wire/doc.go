// Package wire reads HTTP/1 as strictly as RFC 9112 allows: heads, names, targets,
// hosts and chunk framing. Nothing here repairs; what could be read in two ways is
// a [Violation].
//
// fasthttp accepts much that another parser reads otherwise: obs-fold, bare LF,
// Content-Length beside Transfer-Encoding, a space inside a name. Each of these
// is a way to smuggle a request past a policy. So a scanner of this package sees
// every byte before fasthttp does, on the client's side ([RequestScanner]) and on
// the service's ([ResponseScanner], [ChunkedReader]).
//
// The scanners work line by line. A line that arrives whole is judged where it
// lies; one that arrives in pieces is collected first, so a verdict never depends
// on how the bytes were cut. Nothing is allocated unless a line comes in pieces.
//
// While they read they note which known fields they met ([Names]): later steps
// then look only for what is there.
package wire

import "net/http"

// Violation says why a message is refused. It is an error; all values are made by
// this package, with a constant text that holds no byte of the message.
type Violation struct {
	Status int    // what the peer is told: 400, 414, 417 or 431
	Reason string // what is wrong, for people
}

// Error returns the reason.
func (v *Violation) Error() string { return v.Reason }

func bad(reason string) *Violation { return &Violation{http.StatusBadRequest, reason} }

// Limits bounds what a head may cost.
type Limits struct {
	URI     int // bytes of a request's target
	Header  int // bytes of a whole head, or of all trailers
	Headers int // field lines of a head, or of all trailers
	// OddNames says what happens to field names outside of [A-Za-z0-9-].
	OddNames OddNames
}

// OddNames is a policy for field names that are legal but unusual.
type OddNames uint8

// The policies. Those who drop do it by the set of names; the scanner only notes.
const (
	OddDrop OddNames = iota
	OddRefuse
	OddAllow
)

// The violations. Their texts are shown to clients and stand in the log.
var (
	errFirstByte       = bad("the request does not begin with a method")
	errBareLF          = bad("a line ends in LF without CR")
	errRequestLine     = bad("the request line is not METHOD SP target SP HTTP/1.x")
	errMethod          = bad("the method is not 1 to 24 upper-case token characters")
	errVersion         = bad("the version is neither HTTP/1.0 nor HTTP/1.1")
	errTarget          = bad("the request target holds a character that no target may hold")
	errTargetForm      = bad("the request target is neither a path nor an http URL of this host")
	errTargetLong      = &Violation{http.StatusRequestURITooLong, "the request target is longer than limits.uri"}
	errHeadLong        = &Violation{http.StatusRequestHeaderFieldsTooLarge, "the head is longer than limits.header"}
	errHeadLines       = &Violation{http.StatusRequestHeaderFieldsTooLarge, "the head has more field lines than limits.headers"}
	errFold            = bad("a field line begins with white space (obsolete folding)")
	errName            = bad("a field name is empty or holds a character that no name may hold")
	errNameSpace       = bad("there is white space before the colon or inside a field name")
	errNoColon         = bad("a field line has no colon")
	errOddName         = bad("a field name holds other characters than letters, digits and hyphens")
	errValue           = bad("a field value holds a control character")
	errLookAlike       = bad("a field name looks like one that frames the message")
	errHostMissing     = bad("there is no Host")
	errHostTwice       = bad("there is more than one Host")
	errHost            = bad("Host is not a host name or address with an optional port")
	errLength          = bad("Content-Length is not a plain decimal number")
	errLengthTwice     = bad("there is more than one Content-Length")
	errCoding          = bad("Transfer-Encoding is not a single chunked")
	errCodingTwice     = bad("there is more than one Transfer-Encoding")
	errCodingOld       = bad("Transfer-Encoding stands in an HTTP/1.0 message")
	errLengthAndCoding = bad("there are both Content-Length and Transfer-Encoding")
	errTypeTwice       = bad("there is more than one Content-Type")
	errConnection      = bad("Connection names a field that is not its own to name")
	errConnectionList  = bad("Connection is not a list of names")
	errExpect          = &Violation{http.StatusExpectationFailed, "Expect is not 100-continue"}
	errExpectOld       = &Violation{http.StatusExpectationFailed, "Expect stands in an HTTP/1.0 request"}
	errChunkSize       = bad("a chunk size is not a hexadecimal number")
	errChunkLarge      = bad("a chunk is too large")
	errChunkExtension  = bad("a chunk extension holds a control character")
	errChunkExtensions = bad("the chunk extensions of the message are longer than 4 KiB")
	errChunkEnd        = bad("a chunk does not end in CRLF where its size says")
	errTrailer         = bad("a trailer holds a field that may not stand in trailers")
	errStatusLine      = bad("the status line is not HTTP/1.x SP status SP reason")
	errStatus          = bad("the status is not 100 to 599")
)
