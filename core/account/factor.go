package account

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"image/png"
	"net/netip"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"github.com/suuupra/gateway/core/setting"
)

// What second factors are made of (RFC 6238, SECURITY I13). Six digits each 30 s from
// SHA-1 are what every app understands.
const (
	secretSize    = 20 // bytes
	codeDigits    = 6
	stepSeconds   = 30
	skew          = 1 // steps before and after, for clocks that differ
	recoveryCodes = 10
	recoverySize  = 10 // bytes: 80 bits
	qrSize        = 256
)

// Enrolment is what a user needs to set up an app. It prints without, and is left
// out of JSON: the one answer that tells it says so field by field.
type Enrolment struct {
	URL    string `json:"-"` // otpauth://totp/…
	PNG    []byte `json:"-"` // the URL as a QR code
	Secret string `json:"-"` // base32, to type
}

// Format hides all of it from package fmt.
func (Enrolment) Format(f fmt.State, _ rune) {
	// The state is a buffer of fmt; writing to it can't fail in a way to handle.
	_, _ = f.Write([]byte("a second factor (" + setting.Masked + ")"))
}

// Enrol makes a second factor for a user, in place of one that was never confirmed.
// It is not in force before Confirm. The caller has looked that the user gave his
// password lately. The error is ErrEnrolled, ErrCredentials for who may not log in,
// ErrFixed or ErrUnavailable.
func (a *Accounts) Enrol(ctx context.Context, id string) (Enrolment, error) {
	if a.fixed {
		return Enrolment{}, ErrFixed
	}
	rec, err := a.active(ctx, id)
	if err != nil {
		return Enrolment{}, err
	}
	if rec.MFA {
		return Enrolment{}, ErrEnrolled
	}
	secret := randomBytes(secretSize)
	e, err := enrolment(a.issuer, rec.Email, secret)
	if err != nil {
		return Enrolment{}, err
	}
	if err := a.store.Enrol(ctx, id, a.seals.seal(id, secret)); err != nil {
		return Enrolment{}, fmt.Errorf("keeping a second factor: %w", err)
	}
	return e, nil
}

func enrolment(issuer, email string, secret []byte) (Enrolment, error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: issuer, AccountName: email, Secret: secret,
		Period: stepSeconds, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		return Enrolment{}, fmt.Errorf("writing an otpauth URL: %w", err)
	}
	code, err := key.Image(qrSize, qrSize)
	if err != nil {
		return Enrolment{}, fmt.Errorf("drawing a QR code: %w", err)
	}
	var picture bytes.Buffer
	if err := png.Encode(&picture, code); err != nil {
		return Enrolment{}, fmt.Errorf("drawing a QR code: %w", err)
	}
	return Enrolment{URL: key.URL(), PNG: picture.Bytes(), Secret: key.Secret()}, nil
}

// Confirm puts the second factor in force that Enrol made, if code comes from it, and
// returns the recovery codes, which can't be shown again. The caller ends the user's
// other sessions. The error is ErrCode, ErrEnrolled, ErrNotEnrolled, ErrCredentials,
// ErrFixed, *Throttled or ErrUnavailable.
func (a *Accounts) Confirm(ctx context.Context, id, code string) ([]string, error) {
	if a.fixed {
		return nil, ErrFixed
	}
	counters := a.codeCounters(id, "confirm")
	if err := a.count(ctx, counters); err != nil {
		return nil, err
	}
	rec, err := a.active(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case rec.MFA:
		return nil, ErrEnrolled
	case len(rec.Factor.Sealed) == 0:
		return nil, ErrNotEnrolled
	}
	secret, err := a.seals.open(id, rec.Factor.Sealed)
	if err != nil {
		return nil, fmt.Errorf("confirming a second factor: %w: %w", ErrNotEnrolled, err)
	}
	step, ok := stepOf(secret, code, a.clock.Now())
	if !ok {
		return nil, ErrCode
	}
	shown, kept := a.newRecovery(id)
	if err := a.store.Confirm(ctx, id, Confirmation{Sealed: rec.Factor.Sealed, Step: step, Recovery: kept}); err != nil {
		return nil, fmt.Errorf("putting a second factor in force: %w", err)
	}
	a.forget(ctx, counters)
	return shown, nil
}

// SecondFactor is the other half of a login, for a user whose password was right: a
// code of the app or a recovery code, each of which is good once. The error is ErrCode,
// *Throttled or ErrUnavailable.
func (a *Accounts) SecondFactor(ctx context.Context, userID, code string, from netip.Addr) error {
	err := a.secondFactor(ctx, userID, code, from)
	if err != nil {
		a.metrics.failed(err)
		return err
	}
	a.metrics.logins[outcomeSuccess].Add(0, 1)
	return nil
}

func (a *Accounts) secondFactor(ctx context.Context, userID, code string, from netip.Addr) error {
	counters := a.codeCounters(userID, networkOf(from))
	if err := a.count(ctx, counters); err != nil {
		return err
	}
	rec, err := a.active(ctx, userID)
	if errors.Is(err, ErrCredentials) {
		return ErrCode
	}
	if err != nil {
		return err
	}
	if err := a.spend(ctx, rec, code); err != nil {
		return err
	}
	// Now he has shown both halves.
	a.forget(ctx, append(counters, a.networkCounter(from), a.pairCounter(rec.Email, from), a.accountCounter(rec.Email)))
	return nil
}

// DisableMFA removes the second factor of a user who shows one code of it, or a
// recovery code. The caller ends the user's other sessions. The error is ErrCode,
// ErrNotEnrolled, ErrCredentials, ErrFixed, *Throttled or ErrUnavailable.
func (a *Accounts) DisableMFA(ctx context.Context, id, code string) error {
	if a.fixed {
		return ErrFixed
	}
	counters := a.codeCounters(id, "disable")
	if err := a.count(ctx, counters); err != nil {
		return err
	}
	rec, err := a.active(ctx, id)
	if err != nil {
		return err
	}
	if !rec.MFA {
		return ErrNotEnrolled
	}
	if err := a.spend(ctx, rec, code); err != nil {
		return err
	}
	a.forget(ctx, counters)
	if err := a.store.Remove(ctx, id); err != nil {
		return fmt.Errorf("removing a second factor: %w", err)
	}
	return nil
}

// spend uses up a code of the factor in force; ErrCode, ErrUnavailable.
func (a *Accounts) spend(ctx context.Context, rec Record, code string) error {
	if !rec.MFA {
		return ErrCode
	}
	var c Code
	if recovery, ok := readRecovery(code); ok {
		c.Recovery = a.seals.sum("recovery", rec.ID, recovery)
	} else {
		secret, err := a.secretOf(rec)
		if err != nil {
			a.log.Error().Err(err).Str("user", rec.ID).Msg("a second factor can't be read; a recovery code still works, or reset it")
			return ErrCode
		}
		if c.Step, ok = stepOf(secret, code, a.clock.Now()); !ok {
			return ErrCode
		}
	}
	fresh, err := a.store.Spend(ctx, rec.ID, c)
	if err != nil {
		return fmt.Errorf("using up a code: %w", err)
	}
	if !fresh {
		return ErrCode
	}
	return nil
}

func (a *Accounts) secretOf(rec Record) ([]byte, error) {
	if plain := rec.Factor.Plain; !plain.IsZero() {
		return readSecret(plain.Reveal())
	}
	return a.seals.open(rec.ID, rec.Factor.Sealed)
}

// readSecret reads a TOTP secret as apps take it: base32, in any case, with spaces.
func readSecret(text string) ([]byte, error) {
	text = strings.TrimRight(strings.ToUpper(strings.Join(strings.Fields(text), "")), "=")
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	if err != nil || len(secret) < recoverySize {
		return nil, fmt.Errorf("a TOTP secret is base32 of at least %d bytes", recoverySize)
	}
	return secret, nil
}

// stepOf returns the latest step around now whose code it is. All are compared, each
// in constant time.
func stepOf(secret []byte, code string, now time.Time) (step int64, ok bool) {
	if len(code) != codeDigits || strings.Trim(code, "0123456789") != "" {
		return 0, false
	}
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
	current := now.Unix() / stepSeconds
	for s := current - skew; s <= current+skew; s++ {
		want, err := hotp.GenerateCodeCustom(text, uint64(s), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// newRecovery makes recovery codes: as they are shown, and as they are kept.
func (a *Accounts) newRecovery(userID string) (shown []string, kept [][]byte) {
	for range recoveryCodes {
		code := base32.StdEncoding.EncodeToString(randomBytes(recoverySize)) // 16 letters, no padding
		kept = append(kept, a.seals.sum("recovery", userID, code))
		code = strings.ToLower(code)
		shown = append(shown, code[:4]+"-"+code[4:8]+"-"+code[8:12]+"-"+code[12:])
	}
	return shown, kept
}

// readRecovery returns a recovery code in the form in which it was hashed, however its
// owner typed case, spaces and dashes.
func readRecovery(text string) (code string, ok bool) {
	if len(text) > 64 {
		return "", false
	}
	code = strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(text))
	raw, err := base32.StdEncoding.DecodeString(code)
	return code, err == nil && len(raw) == recoverySize
}
