package token

import (
	"errors"
	"fmt"
)

// Why a part of a token is no base64url.
var (
	errEmpty  = errors.New("is empty")
	errBase64 = errors.New("is no base64url in its one spelling")
)

// refused is an ErrInvalid that says why. why quotes nothing of the token.
func refused(why string) error { return fmt.Errorf("%w: %s", ErrInvalid, why) }
