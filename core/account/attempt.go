package account

import (
	"errors"
	"net/netip"
)

// Attempt is somebody who says that he is a user.
type Attempt struct {
	Email, Password string     // as they came
	From            netip.Addr // of the client
	Device          string     // the device cookie; may be empty, or anything
}

// Enrolment is what a user needs to set up an app.
type Enrolment struct {
	URL    string `json:"-"` // otpauth://totp/…
	PNG    []byte `json:"-"` // the URL as a QR code
	Secret string `json:"-"` // base32, to type
}

// Why a second factor is not made, or not removed.
var (
	ErrEnrolled    = errors.New("a second factor is in force already")
	ErrNotEnrolled = errors.New("there is no second factor")
)
