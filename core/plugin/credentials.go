package plugin

import (
	"net/netip"
	"time"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/principal"
	"github.com/suuupra/gateway/core/setting"
	"github.com/suuupra/gateway/core/token"
)

// Identity is what says whether a credential is good. A program fills in what it
// has; what is nil knows nobody, so that such credentials are refused. The
// implementations may be called concurrently.
type Identity struct {
	Tokens      Tokens
	Revocations Revocations // never nil where Tokens or Tickets are not
	Keys        Keys
	Tickets     Tickets
	Vouchers    Vouchers

	// Issuers are the names of the foreign issuers whose tokens Tokens may accept.
	Issuers []string
	// FingerprintHeader names the request field that tokens are bound to (SECURITY
	// I14), in any case; it is neither logged nor forwarded. Empty: there is none.
	FingerprintHeader string
	// Refused is how many refused credentials of one address are looked at (SECURITY
	// I10); zero is DefaultRefused.
	Refused setting.Rate
}

// DefaultRefused is Identity.Refused where it is zero: the default of
// identity.throttle.refused.
func DefaultRefused() setting.Rate { return setting.Rate{Count: 100, Per: time.Minute} }

// Tokens verifies access tokens.
type Tokens interface {
	// Access returns what raw, borrowed, says. Errors wrap one of token's. What it
	// returns is immutable, and the same for a token that is known.
	Access(raw []byte) (*token.Verified, error)
}

// Revocations says what must be refused though its token is good.
type Revocations interface {
	Revoked(session, user string, issuedAt int64) bool
	RevokedForeign(keys []string) bool
	// State is how old the mirror of revocations is, and whether it may be believed
	// at all: not at a cold start that found no source (SECURITY I6).
	State() (age time.Duration, ready bool)
}

// Keys looks API keys up, and counts their use.
type Keys interface {
	// Check returns the key that raw, borrowed, is, shown by somebody at from. Errors
	// wrap one of apikey's. What it returns is immutable.
	Check(raw []byte, from netip.Addr) (*apikey.Key, error)
	// Used counts one exchange in which k was shown. It must not block.
	Used(k *apikey.Key, use apikey.Use)
}

// Tickets takes the tickets of callers that can't set a header (SPEC ID10).
type Tickets interface {
	// Redeem returns for whom ticket, borrowed, was issued, if it is good for path.
	// Expires is the end of the session or token that it stands for. Errors wrap one
	// of token's.
	Redeem(ticket, path []byte) (*token.Verified, error)
}

// Vouchers tells services who calls, in a signed token (SECURITY I7).
type Vouchers interface {
	// Internal returns a token about p for the service of that name, which is good
	// for a minute.
	Internal(p *principal.Principal, service string) (string, error)
}
