package account

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The lengths of a password, in characters (SPEC ID4).
const (
	MinPassword = 8
	MaxPassword = 128
)

// maxPasswordBytes is how long a password can be that follows the rules: nothing
// longer is hashed.
const maxPasswordBytes = MaxPassword * utf8.UTFMax

// marks are the characters one of which a password needs.
const marks = "@$!%*?&"

// CheckRules says what SPEC ID4 does not like about a password, with ErrPassword, or
// nil. These are all the rules; they are for passwords being set, not for logins.
func CheckRules(password string) error {
	refuse := func(why string) error { return fmt.Errorf("%w: it %s", ErrPassword, why) }
	if len(password) > maxPasswordBytes {
		return refuse(fmt.Sprintf("has more than %d characters", MaxPassword))
	}
	if !utf8.ValidString(password) {
		return refuse("is not valid UTF-8")
	}
	var lower, upper, digit, mark bool
	for _, c := range password {
		switch {
		case unicode.IsControl(c):
			return refuse("holds a control character")
		case 'a' <= c && c <= 'z':
			lower = true
		case 'A' <= c && c <= 'Z':
			upper = true
		case '0' <= c && c <= '9':
			digit = true
		case strings.ContainsRune(marks, c):
			mark = true
		}
	}
	switch n := utf8.RuneCountInString(password); {
	case n < MinPassword:
		return refuse(fmt.Sprintf("has less than %d characters", MinPassword))
	case n > MaxPassword:
		return refuse(fmt.Sprintf("has more than %d characters", MaxPassword))
	case !lower:
		return refuse("has no lower-case letter (a-z)")
	case !upper:
		return refuse("has no upper-case letter (A-Z)")
	case !digit:
		return refuse("has no digit (0-9)")
	case !mark:
		return refuse("has none of " + marks)
	}
	return nil
}
