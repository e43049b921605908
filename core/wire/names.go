package wire

// Names is a set of fields that were met in a head.
type Names uint64

// The fields that later steps ask for. A bit says that at least one line had it.
const (
	NameHost Names = 1 << iota
	NameConnection
	NameTransferEncoding
	NameContentLength
	NameContentType
	NameContentEncoding
	NameExpect
	NameUpgrade
	NameTE
	NameTrailer
	NameKeepAlive
	NameProxyConnection
	NameProxyAuth // Proxy-Authenticate, Proxy-Authorization, Proxy-Authentication-Info
	NameVia
	NameForwarded
	NameXForwardedFor
	NameXForwardedProto
	NameXForwardedHost
	NameXForwardedOther // the further fields of SECURITY C10 that name a client
	NameXRealIP
	NameXCorrelationID
	NameAuthorization
	NameAPIKey
	NameCookie
	NameOrigin
	NameIdempotencyKey
	NameServer
	NameDate
	NameSetCookie
	NameRetryAfter
	// NameReserved: a name that only the gateway sets, spelt as it does (SECURITY C3).
	NameReserved
	// NameSpoofed: a name that folds onto a reserved or forwarded one: X_User_ID.
	NameSpoofed
	// NameOdd: a name outside of [A-Za-z0-9-] that the policy does not allow.
	NameOdd
	// What Connection lists.
	NameConnectionClose
	NameConnectionKeepAlive
	NameConnectionOther // names of further fields
)

// Forwarded is all fields that tell where a request came from.
const Forwarded = NameForwarded | NameXForwardedFor | NameXForwardedProto | NameXForwardedHost | NameXForwardedOther | NameXRealIP

// Has says whether any of m is in the set.
func (n Names) Has(m Names) bool { return n&m != 0 }

// known is one name that is looked for.
type known struct {
	name string
	bit  Names
}

// knownNames lists the known names by length, so that most names meet none or one.
var knownNames = byLength([]known{
	{"host", NameHost}, {"connection", NameConnection}, {"transfer-encoding", NameTransferEncoding},
	{"content-length", NameContentLength}, {"content-type", NameContentType}, {"content-encoding", NameContentEncoding},
	{"expect", NameExpect}, {"upgrade", NameUpgrade}, {"te", NameTE}, {"trailer", NameTrailer},
	{"keep-alive", NameKeepAlive}, {"proxy-connection", NameProxyConnection},
	{"proxy-authenticate", NameProxyAuth}, {"proxy-authorization", NameProxyAuth}, {"proxy-authentication-info", NameProxyAuth},
	{"via", NameVia}, {"forwarded", NameForwarded},
	{"x-forwarded-for", NameXForwardedFor}, {"x-forwarded-proto", NameXForwardedProto}, {"x-forwarded-host", NameXForwardedHost},
	{"x-forwarded-port", NameXForwardedOther}, {"x-forwarded-prefix", NameXForwardedOther},
	{"x-forwarded-server", NameXForwardedOther}, {"x-forwarded-ssl", NameXForwardedOther}, {"x-forwarded-scheme", NameXForwardedOther},
	{"x-original-url", NameXForwardedOther}, {"x-rewrite-url", NameXForwardedOther}, {"true-client-ip", NameXForwardedOther},
	{"cf-connecting-ip", NameXForwardedOther}, {"x-client-ip", NameXForwardedOther}, {"x-client-cert", NameXForwardedOther},
	{"x-real-ip", NameXRealIP}, {"x-correlation-id", NameXCorrelationID},
	{"authorization", NameAuthorization}, {"x-api-key", NameAPIKey}, {"cookie", NameCookie}, {"origin", NameOrigin},
	{"idempotency-key", NameIdempotencyKey}, {"server", NameServer}, {"date", NameDate}, {"set-cookie", NameSetCookie},
	{"retry-after", NameRetryAfter},
	{"x-user-id", NameReserved}, {"x-client-id", NameReserved}, {"x-scopes", NameReserved},
})

// longestKnown is the length of the longest known name.
const longestKnown = 25

// reservedPrefix begins the names that only the gateway may set, beside the listed.
const reservedPrefix = "x-gateway-"

func byLength(list []known) (t [longestKnown + 1][]known) {
	for _, k := range list {
		t[len(k.name)] = append(t[len(k.name)], k)
	}
	return t
}

// lookUp returns the bit of a name, or 0. Names are compared case-folded.
func lookUp(name []byte) Names {
	if len(name) <= longestKnown {
		for _, k := range knownNames[len(name)] {
			if name[0]|0x20 == k.name[0] && folds(name, k.name) {
				return k.bit
			}
		}
	}
	if len(name) > len(reservedPrefix) && folds(name[:len(reservedPrefix)], reservedPrefix) {
		return NameReserved
	}
	return 0
}

// longestFolded is the longest odd name that is folded; a longer one can fold onto
// a reserved name only by its prefix.
const longestFolded = 64

// FoldedName appends name to dst in lower case, with "_" and "." as "-": some
// services read all three alike (SECURITY C3).
func FoldedName(dst, name []byte) []byte {
	for _, c := range name {
		switch {
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case c == '_' || c == '.':
			c = '-'
		}
		dst = append(dst, c)
	}
	return dst
}

// Reserved says whether a service might read name, in whatever spelling, as one
// that only the gateway sets: who calls, and from where.
func Reserved(name []byte) bool {
	var room [longestFolded]byte
	folded := FoldedName(room[:0], name[:min(len(name), longestFolded)])
	if len(folded) == 0 {
		return false
	}
	return lookUp(folded).Has(NameReserved | Forwarded)
}

// oddBits is what is noted of a name outside of [A-Za-z0-9-]; a name that could be
// read as one that frames the message is refused.
func oddBits(name []byte) (Names, *Violation) {
	var room [longestFolded]byte
	folded := FoldedName(room[:0], name[:min(len(name), longestFolded)])
	switch bit := lookUp(folded); {
	case bit.Has(NameContentLength|NameTransferEncoding) && len(name) == len(folded):
		return 0, errLookAlike
	case bit.Has(NameReserved | Forwarded):
		return NameOdd | NameSpoofed, nil
	default:
		return NameOdd, nil
	}
}

// protected are the fields that Connection must not name: removing them would
// change what a request is or may do (SECURITY C4).
const protected = NameHost | NameContentLength | NameTransferEncoding | NameContentType | NameAuthorization |
	NameCookie | NameAPIKey | NameOrigin | NameExpect | NameIdempotencyKey

// connectionBits reads the value of one Connection line.
func connectionBits(value []byte) (bits Names, v *Violation) {
	for len(value) > 0 {
		var token []byte
		token, value = nextToken(value)
		switch {
		case len(token) == 0:
		case !all(token, tchar):
			return 0, errConnectionList
		case folds(token, "close"):
			bits |= NameConnectionClose
		case folds(token, "keep-alive"):
			bits |= NameConnectionKeepAlive
		case lookUp(token).Has(protected):
			return 0, errConnection
		default:
			bits |= NameConnectionOther
		}
	}
	return bits, nil
}

// nextToken cuts the first element off a comma-separated list.
func nextToken(list []byte) (token, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}

// notInTrailers are the known fields that no trailer may hold: they frame, route,
// authenticate or name the caller (RFC 9110 §6.5.1, SECURITY C3).
const notInTrailers = NameHost | NameConnection | NameTransferEncoding | NameContentLength | NameContentType |
	NameContentEncoding | NameExpect | NameUpgrade | NameTE | NameTrailer | NameKeepAlive | NameProxyConnection |
	NameProxyAuth | NameVia | Forwarded | NameXCorrelationID | NameAuthorization | NameAPIKey | NameCookie | NameOrigin |
	NameIdempotencyKey | NameSetCookie | NameReserved | NameSpoofed
