package login

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/suuupra/gateway/core/clock"
)

// waitingLife is how long a login waits for its second factor.
const waitingLife = 5 * time.Minute

// minKey is the shortest Options.Key, in bytes.
const minKey = 32

// errWaiting says that a ticket is not ours or too old. Which of them is nobody's business.
var errWaiting = errors.New("the ticket of a waiting login is forged or too old")

// waiting seals what is known of a login whose password was right into a ticket, so that
// the code can be sent without the password again (SPEC ID6), to any instance, and none
// has to remember it. The ticket may be shown several times while it lives: attempts are
// counted by the account, and a code is good once.
type waiting struct {
	aead  cipher.AEAD
	clock clock.Clock
}

func newWaiting(key []byte, c clock.Clock) (*waiting, error) {
	if len(key) < minKey {
		return nil, fmt.Errorf("the key has %d bytes, it needs %d", len(key), minKey)
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "gateway: logins that wait for a second factor", minKey)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &waiting{aead, c}, nil
}

// waitingLogin is what a ticket says.
type waitingLogin struct {
	User        string `json:"u"`
	Until       int64  `json:"e"` // unix seconds
	Fingerprint string `json:"f,omitempty"`
	Thumbprint  string `json:"t,omitempty"`
}

// issue returns a ticket for a user.
func (w *waiting) issue(user string, b binding) string {
	// Strings and a number: this can't fail.
	text, _ := json.Marshal(waitingLogin{user, w.clock.Now().Add(waitingLife).Unix(), b.fingerprint, b.thumbprint})
	return base64.RawURLEncoding.EncodeToString(w.aead.Seal(nil, nil, text, nil))
}

// redeem returns whose ticket it is, and what his tokens will be bound to.
func (w *waiting) redeem(ticket string) (user string, b binding, err error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(ticket)
	if err != nil {
		return "", binding{}, errWaiting
	}
	text, err := w.aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return "", binding{}, errWaiting
	}
	var l waitingLogin
	if err := json.Unmarshal(text, &l); err != nil || w.clock.Now().Unix() >= l.Until {
		return "", binding{}, errWaiting
	}
	return l.User, binding{l.Fingerprint, l.Thumbprint}, nil
}
