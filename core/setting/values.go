package setting

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ValueError is the error of a value that does not have its type's form. Want
// completes "want …"; Suggest, if not empty, is what was probably meant.
type ValueError struct {
	Want    string
	Suggest string
}

// Error returns the text with the suggestion.
func (e *ValueError) Error() string {
	if e.Suggest == "" {
		return "want " + e.Want
	}
	return "want " + e.Want + " (did you mean " + strconv.Quote(e.Suggest) + "?)"
}

// Duration is a span of time such as 250ms, 15m or 1h30m; never negative.
type Duration time.Duration

const wantDuration = "a duration such as 250ms, 30s or 15m"

// UnmarshalText reads what time.ParseDuration reads, without a sign; a number
// without a unit is refused.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if isDigits(s) && s != "0" {
		return &ValueError{Want: wantDuration, Suggest: s + "s"}
	}
	if days, ok := strings.CutSuffix(s, "d"); ok && isDigits(days) && len(days) < 6 {
		n, err := strconv.Atoi(days)
		if err == nil {
			return &ValueError{Want: wantDuration, Suggest: strconv.Itoa(n*24) + "h"}
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil || s == "0" || v < 0 || s[0] == '+' || s[0] == '-' {
		return &ValueError{Want: wantDuration, Suggest: respell(s, func(t string) bool {
			_, err := time.ParseDuration(t)
			return err == nil && t[0] != '-' && t[0] != '+'
		})}
	}
	*d = Duration(v)
	return nil
}

// respell returns s without blanks and in lower case if that makes it valid.
func respell(s string, valid func(string) bool) string {
	t := strings.ToLower(strings.ReplaceAll(s, " ", ""))
	if t != "" && t != s && valid(t) {
		return t
	}
	return ""
}

// String returns the shortest form without zero units: 15m, 1h30m, 250ms.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// JSONSchema describes the form of a duration.
func (Duration) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|\$\{`}
}

// Size is a number of bytes such as 64KiB or 10MiB; Unlimited is -1, and only
// fields tagged unlimited take that word.
type Size int64

// Unlimited is the Size that is written `unlimited`.
const Unlimited Size = -1

const wantSize = "a size such as 512B, 64KiB or 10MiB"

type unit struct {
	name  string
	bytes int64
}

// sizeUnits is ordered from large to small, as String needs it.
var sizeUnits = [...]unit{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText reads a whole number with one of the units B, KiB, MiB, GiB and
// TiB, or `unlimited`.
func (z *Size) UnmarshalText(text []byte) error {
	s := string(text)
	if s == "unlimited" {
		*z = Unlimited
		return nil
	}
	digits := strings.TrimRight(s, "BKMGTi")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err == nil && isDigits(digits) {
		for _, u := range sizeUnits {
			if s[len(digits):] == u.name && n <= math.MaxInt64/u.bytes {
				*z = Size(n * u.bytes)
				return nil
			}
		}
	}
	e := &ValueError{Want: wantSize, Suggest: suggestSize(s)}
	if e.Suggest == s {
		e.Suggest = "" // the unit is right, the number is too large
	}
	return e
}

// suggestSize guesses the unit: 64k, 64 KB and 64kib are all 64KiB.
func suggestSize(s string) string {
	t := strings.ReplaceAll(s, " ", "")
	digits := strings.TrimRight(t, "BbKkMmGgTtIi")
	if !isDigits(digits) || len(digits) > 15 {
		return ""
	}
	letters := strings.TrimRight(strings.ToUpper(t[len(digits):]), "B")
	switch letters = strings.TrimRight(letters, "I"); letters {
	case "":
		return digits + "B"
	case "K", "M", "G", "T":
		return digits + letters + "iB"
	default:
		return ""
	}
}

// String returns the size in the largest unit that needs no fraction.
func (z Size) String() string {
	if z == Unlimited {
		return "unlimited"
	}
	for _, u := range sizeUnits {
		if z != 0 && int64(z)%u.bytes == 0 {
			return strconv.FormatInt(int64(z)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// JSONSchema describes the form of a size.
func (Size) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": `^[0-9]+(B|KiB|MiB|GiB|TiB)$|\$\{`}
}

// Rate is a count in a span of time, such as 1000/1m; both are positive.
type Rate struct {
	Count int64
	Per   time.Duration
}

const wantRate = "a rate such as 1000/1m or 20/1s"

// UnmarshalText reads "count/duration".
func (r *Rate) UnmarshalText(text []byte) error {
	count, per, _ := strings.Cut(string(text), "/")
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n <= 0 || !isDigits(count) {
		return &ValueError{Want: wantRate}
	}
	var d Duration
	if err := d.UnmarshalText([]byte(per)); err != nil || d <= 0 {
		e := &ValueError{Want: wantRate}
		if per != "" && !isDigits(per[:1]) && d.UnmarshalText([]byte("1"+per)) == nil {
			e.Suggest = count + "/1" + per
		}
		return e
	}
	*r = Rate{Count: n, Per: time.Duration(d)}
	return nil
}

// String returns "count/duration".
func (r Rate) String() string {
	return strconv.FormatInt(r.Count, 10) + "/" + Duration(r.Per).String()
}

// JSONSchema describes the form of a rate.
func (Rate) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": `^[0-9]+/[0-9][0-9a-zµ.]*$|\$\{`}
}

// Share is a part of a whole, written as 50% and held as 0.5; from 0 to 1.
type Share float64

const wantShare = "a share from 0% to 100%"

// UnmarshalText reads a number from 0 to 100 with a percent sign.
func (p *Share) UnmarshalText(text []byte) error {
	s := string(text)
	digits, percent := strings.CutSuffix(s, "%")
	if !decimal(digits) {
		return &ValueError{Want: wantShare}
	}
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || v > 100 {
		return &ValueError{Want: wantShare}
	}
	if !percent {
		if strings.HasPrefix(s, "0.") {
			v *= 100
		}
		return &ValueError{Want: wantShare, Suggest: Share(v / 100).String()}
	}
	*p = Share(v / 100)
	return nil
}

// String returns the share in percent.
func (p Share) String() string {
	// Rounding to twelve digits hides that 0.07 × 100 is 7.000000000000001.
	v, err := strconv.ParseFloat(strconv.FormatFloat(float64(p)*100, 'g', 12, 64), 64)
	if err != nil {
		v = float64(p) * 100
	}
	return strconv.FormatFloat(v, 'f', -1, 64) + "%"
}

// JSONSchema describes the form of a share.
func (Share) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": `^[0-9]+(\.[0-9]+)?%$|\$\{`}
}

// CIDR is an IP network such as 10.0.0.0/8. No bits are set beyond its length.
type CIDR struct{ netip.Prefix }

const wantCIDR = "a network such as 10.0.0.0/8 or fd00::/8"

// UnmarshalText reads a network in CIDR form.
func (c *CIDR) UnmarshalText(text []byte) error {
	s := string(text)
	p, err := netip.ParsePrefix(s)
	if err != nil {
		e := &ValueError{Want: wantCIDR}
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			e.Suggest = netip.PrefixFrom(a, a.BitLen()).String()
		}
		return e
	}
	if p != p.Masked() {
		return &ValueError{Want: "a network whose address ends where its length says", Suggest: p.Masked().String()}
	}
	if p.Addr().Is4In6() {
		return &ValueError{Want: "an IPv4 network without the prefix ::ffff:"}
	}
	c.Prefix = p
	return nil
}

// JSONSchema describes the form of a network.
func (CIDR) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": `^[0-9a-fA-F.:]+/[0-9]{1,3}$|\$\{`}
}

// Prefixes returns the networks of a list.
func Prefixes(list []CIDR) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, c := range list {
		out[i] = c.Prefix
	}
	return out
}

// StringList is a list of plain strings. Like every list of scalars it may be
// written as one comma-separated string; commas inside braces or brackets, as in
// a regular expression of a path, don't separate.
type StringList []string

// Secret is a text that is shown nowhere: every way of printing it yields
// "***". The zero Secret is none. In configuration, a field of this type named
// x has a twin x_file that names a file holding the value; one final line break
// of the file is dropped.
type Secret struct{ value, file string }

// Masked is what stands for a secret wherever one would be printed.
const Masked = "***"

// NewSecret returns a secret that holds text.
func NewSecret(text string) Secret { return Secret{value: text} }

// Reveal returns the text itself. Never log it.
func (s Secret) Reveal() string { return s.value }

// File is the file that the secret was read from, "" if it stands in the
// configuration itself.
func (s Secret) File() string { return s.file }

// Renewed is the secret that its file holds by now.
func (s Secret) Renewed(text string) Secret { return Secret{value: text, file: s.file} }

// IsZero says that no secret is set.
func (s Secret) IsZero() bool { return s.value == "" }

// String returns the mask, or "" if no secret is set.
func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return Masked
}

// GoString masks the secret in %#v.
func (s Secret) GoString() string { return s.String() }

// Format masks the secret for every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) {
	// The state is a buffer of fmt; writing to it can't fail in a way to handle.
	_, _ = f.Write([]byte(s.String()))
}

// MarshalText masks the secret in JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes any text but the mask, which would be a copied excerpt.
func (s *Secret) UnmarshalText(text []byte) error {
	if string(text) == Masked {
		return errMask
	}
	s.value = string(text)
	return nil
}

// JSONSchema describes the form of a secret.
func (Secret) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "minLength": 1, "writeOnly": true}
}

var errMask = errors.New("want the secret itself: this is the mask that stands for one")

// isDigits says that s holds decimal digits only, at least one.
func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// decimal says that s is digits with at most one point between them.
func decimal(s string) bool {
	whole, fraction, point := strings.Cut(s, ".")
	return isDigits(whole) && (!point || isDigits(fraction))
}
