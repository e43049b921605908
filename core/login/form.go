package login

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/suuupra/gateway/core/fault"
	"github.com/suuupra/gateway/core/wire"
)

// field is a member that a body may have: a string.
type field struct {
	name     string
	optional bool
	// check says what is wrong with a value, as the end of a sentence; "" is nothing.
	check func(string) string
}

// form is a body: an object with these members and no others.
type form []field

// values are the members of a body that has passed its form.
type values map[string]string

// maxProblems is how many problems of one body are told.
const maxProblems = 16

// read takes a body apart. problems are all that is wrong with it in the order of the
// body, then what is missing; err says that it is no JSON at all.
func (f form) read(raw []byte) (v values, problems []fault.Problem, err error) {
	members, top, err := parse(raw)
	if err != nil {
		return nil, nil, err
	}
	if top != isObject {
		return nil, []fault.Problem{{Message: "must be an object, this is " + string(top)}}, nil
	}
	v = values{}
	seen := map[string]bool{}
	for _, m := range members {
		if why := f.take(m, seen[m.name], v); why != "" && len(problems) < maxProblems {
			problems = append(problems, fault.Problem{Pointer: pointer(m.name), Message: why})
		}
		seen[m.name] = true
	}
	for _, d := range f {
		if !d.optional && !seen[d.name] {
			problems = append(problems, fault.Problem{Pointer: pointer(d.name), Message: "is required"})
		}
	}
	return v, problems, nil
}

// take puts a member into v, or says why not.
func (f form) take(m member, again bool, v values) string {
	i := slices.IndexFunc(f, func(d field) bool { return d.name == m.name })
	switch {
	case i < 0:
		return "is not known here"
	case again:
		return "stands twice"
	case m.kind != isString:
		return "must be a string, this is " + string(m.kind)
	}
	v[m.name] = m.text
	return f[i].check(m.text)
}

// maxShownName is how much of a caller's own member name is shown to him.
const maxShownName = 64

// pointer is the JSON Pointer to a member at the top (RFC 6901).
func pointer(name string) string {
	if len(name) > maxShownName {
		name = strings.ToValidUTF8(name[:maxShownName], "") + "…"
	}
	return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// The forms of all bodies (SPEC ID4–ID6, ID10).
var (
	email    = field{name: "email", check: checkEmail}
	password = field{name: "password", check: checkShownPassword}
	code     = field{name: "code", check: checkCode}
	refresh  = field{name: "refreshToken", optional: true, check: checkToken}
)

// The longest values, in bytes but for passwords.
const (
	maxEmail    = 255
	minPassword = 8
	maxPassword = 128 // characters
	maxCode     = 64
	maxToken    = 8192
	maxPath     = 8192
)

// checkEmail refuses what can't be an address; whose it is, is for the account to say.
func checkEmail(s string) string {
	at := strings.LastIndexByte(s, '@')
	switch {
	case len(s) > maxEmail:
		return fmt.Sprintf("has more than %d bytes", maxEmail)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "holds a control character"
	case at <= 0 || at == len(s)-1:
		return "is no e-mail address"
	}
	return ""
}

// marks are the characters one of which a password needs (SPEC ID4).
const marks = "@$!%*?&"

// checkShownPassword takes what can be somebody's password. The rules of SPEC ID4 are for
// passwords being set: one whose hash was imported may follow others, and only its hash
// can tell.
func checkShownPassword(s string) string {
	switch {
	case s == "":
		return "is empty"
	case utf8.RuneCountInString(s) > maxPassword:
		return fmt.Sprintf("has more than %d characters", maxPassword)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "holds a control character"
	}
	return ""
}

// checkNewPassword takes what may become one.
func checkNewPassword(s string) string {
	if why := checkShownPassword(s); why != "" {
		return why
	}
	n := utf8.RuneCountInString(s)
	has := func(set func(rune) bool) bool { return strings.ContainsFunc(s, set) }
	switch {
	case n < minPassword:
		return fmt.Sprintf("has less than %d characters", minPassword)
	case !has(func(r rune) bool { return 'a' <= r && r <= 'z' }):
		return "has no lower-case letter (a-z)"
	case !has(func(r rune) bool { return 'A' <= r && r <= 'Z' }):
		return "has no upper-case letter (A-Z)"
	case !has(func(r rune) bool { return '0' <= r && r <= '9' }):
		return "has no digit (0-9)"
	case !strings.ContainsAny(s, marks):
		return "has none of " + marks
	}
	return ""
}

// checkCode takes what can be a code of an app or a recovery code.
func checkCode(s string) string {
	if s == "" || len(s) > maxCode || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Sprintf("must be 1 to %d characters of ASCII", maxCode)
	}
	return ""
}

// checkToken takes what can be a token or a ticket of ours.
func checkToken(s string) string {
	if s == "" || len(s) > maxToken || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Sprintf("must be 1 to %d visible characters of ASCII", maxToken)
	}
	return ""
}

// checkPath takes the path of a request, without a query, in the spelling that the
// gateway would give it (SPEC RT2): a ticket for another spelling would open nothing.
func checkPath(s string) string {
	if s == "" || s[0] != '/' || len(s) > maxPath || strings.ContainsAny(s, "?#") {
		return fmt.Sprintf("must be a path that begins with /, without a query, of at most %d bytes", maxPath)
	}
	canonical, _, err := wire.CanonicalPath(nil, []byte(s), wire.PathOptions{EncodedSlashes: true, DoubleSlashes: true})
	if err != nil {
		return "is no path that the gateway takes: " + err.Error()
	}
	if string(canonical) != s {
		return "must be in its canonical spelling"
	}
	return ""
}
