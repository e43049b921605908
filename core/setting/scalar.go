package setting

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// shownText bounds the bytes of a value that a message quotes.
const shownText = 80

// notString finds plain scalars that YAML readers take for something else than a
// string: numbers, booleans and null.
var notString = regexp.MustCompile(`^(?:[-+]?(?:\d[\d_]*)(?:\.\d*)?(?:[eE][-+]?\d+)?|[-+]?\.\d+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|0x[\da-fA-F_]+|0o?[0-7_]+|0b[01_]+|true|false|True|False|TRUE|FALSE|off)$`)

// Describe says what n is, as messages do after "got": a list, a map, or its text
// in quotes; of an expanded scalar, the names of the variables only.
func (n *Node) Describe() string {
	switch {
	case n.Kind != Scalar:
		return n.Kind.String()
	case n.Expanded:
		return "what " + n.variables + " stands for"
	default:
		return strconv.Quote(cut(n.Text))
	}
}

// cut shortens a text that a message quotes.
func cut(s string) string {
	if len(s) <= shownText {
		return s
	}
	end := shownText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// scalar reads n into a value that is written as one scalar.
func (d *decoder) scalar(n *Node, v reflect.Value, f *field) {
	switch {
	case v.Type() == typeSecret:
		d.secret(n, v)
	case n.Kind == Null:
		d.r.AddNode(n, "want "+wanted(v.Type(), f)+", got nothing: leave the key out or give it a value", "")
	case n.Kind != Scalar:
		d.r.AddNode(n, "want "+wanted(v.Type(), f)+", got "+n.Describe(), "")
	case n.Text == "" && !f.empty:
		from := ""
		if n.Expanded {
			from = " from " + n.variables
		}
		d.r.AddNode(n, "want "+wanted(v.Type(), f)+", got an empty string"+from+": leave the key out instead", "")
	case readsText(v.Type()):
		d.text(n, v, f)
	case v.Kind() == reflect.String:
		d.str(n, v, f)
	case v.Kind() == reflect.Bool:
		d.boolean(n, v)
	default:
		d.number(n, v, f)
	}
}

// wanted names what a field takes.
func wanted(t reflect.Type, f *field) string {
	if len(f.enum) > 0 {
		return OneOf(f.choices())
	}
	return form(t) + f.words()
}

// choices are the words of an enum, and off where it is one.
func (f *field) choices() []string {
	if f.off {
		return append(slices.Clone(f.enum), "off")
	}
	return f.enum
}

// words names what a field takes beside its form.
func (f *field) words() string {
	out := ""
	if f.unlimited {
		out += ", or unlimited"
	}
	if f.off {
		out += ", or off"
	}
	return out
}

// form names what values of t look like.
func form(t reflect.Type) string {
	switch t {
	case typeSize:
		return wantSize
	case reflect.TypeFor[Duration]():
		return wantDuration
	case reflect.TypeFor[Rate]():
		return wantRate
	case reflect.TypeFor[Share]():
		return wantShare
	case reflect.TypeFor[CIDR]():
		return wantCIDR
	case typeContent:
		return "a text"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Float64, reflect.Float32:
		return "a number"
	}
	if readsText(t) {
		return "a value"
	}
	return "a whole number"
}

// text lets the type read the scalar itself.
func (d *decoder) text(n *Node, v reflect.Value, f *field) {
	err := unmarshalText(v, n.Text)
	if err == nil && v.Type() == typeSize && Size(v.Int()) == Unlimited && !f.unlimited {
		err = &ValueError{Want: wantSize}
	}
	if err != nil {
		var e *ValueError
		if !errors.As(err, &e) {
			e = &ValueError{Want: strings.TrimPrefix(err.Error(), "want ")}
		}
		d.r.AddNode(n, "want "+e.Want+f.words()+", got "+n.Describe(), e.Suggest)
		return
	}
	if v.Kind() == reflect.String && !d.member(n, v.String(), f) {
		return
	}
	d.inBounds(n, v, f)
}

func (d *decoder) str(n *Node, v reflect.Value, f *field) {
	if !n.Quoted && !n.Expanded && notString.MatchString(n.Text) {
		if len(f.enum) > 0 && !slices.Contains(f.enum, n.Text) {
			d.r.AddNode(n, "want "+OneOf(f.choices())+", got "+n.Describe(), Nearest(n.Text, f.choices()))
			return
		}
		d.r.AddNode(n, fmt.Sprintf("want %s, got %s without quotes: put it in quotes", wanted(v.Type(), f), n.Text), "")
		return
	}
	if d.member(n, n.Text, f) {
		v.SetString(n.Text)
	}
}

// member says whether text is one of the words that f takes.
func (d *decoder) member(n *Node, text string, f *field) bool {
	if len(f.enum) == 0 || slices.Contains(f.enum, text) {
		return true
	}
	d.r.AddNode(n, "want "+OneOf(f.choices())+", got "+n.Describe(), Nearest(text, f.choices()))
	return false
}

func (d *decoder) boolean(n *Node, v reflect.Value) {
	if n.Quoted && !n.Expanded {
		suggestion := ""
		if isBool(n.Text) {
			suggestion = n.Text
		}
		d.unquote(n, "true or false", suggestion != "")
		return
	}
	if !isBool(n.Text) {
		d.r.AddNode(n, "want true or false, got "+n.Describe(), Nearest(n.Text, []string{"true", "false", "off"}))
		return
	}
	v.SetBool(n.Text == "true" || n.Text == "on")
}

func isBool(s string) bool { return s == "true" || s == "false" || s == "on" || s == "off" }

// unquote reports a string where a number or boolean belongs.
func (d *decoder) unquote(n *Node, want string, would bool) {
	text := "want " + want + ", got the string " + n.Describe()
	if would {
		text += ": leave out the quotes"
	}
	d.r.AddNode(n, text, "")
}

func (d *decoder) number(n *Node, v reflect.Value, f *field) {
	want := wanted(v.Type(), f)
	if f.bounds() != "" && len(f.enum) == 0 {
		want = form(v.Type()) + " (" + f.bounds() + ")" + f.words()
	}
	valid := isInteger(n.Text)
	if v.CanFloat() {
		valid = decimal(strings.TrimPrefix(n.Text, "-"))
	}
	if n.Quoted && !n.Expanded {
		d.unquote(n, want, valid)
		return
	}
	if !valid || !setNumber(v, n.Text) {
		d.r.AddNode(n, "want "+want+", got "+n.Describe(), "")
		return
	}
	if d.member(n, n.Text, f) {
		d.inBounds(n, v, f)
	}
}

// isInteger says that s is a decimal number without leading zeros.
func isInteger(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	return isDigits(digits) && (digits[0] != '0' || s == "0")
}

// setNumber sets v to the number in s, and says whether it fits.
func setNumber(v reflect.Value, s string) bool {
	switch {
	case v.CanInt():
		i, err := strconv.ParseInt(s, 10, 64)
		if err != nil || v.OverflowInt(i) {
			return false
		}
		v.SetInt(i)
	case v.CanUint():
		u, err := strconv.ParseUint(s, 10, 64)
		if err != nil || v.OverflowUint(u) {
			return false
		}
		v.SetUint(u)
	case v.CanFloat():
		x, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return false
		}
		v.SetFloat(x)
	default:
		panic(fmt.Sprintf("setting: a %s can't be decoded", v.Type()))
	}
	return true
}

// inBounds checks the min and max of a field.
func (d *decoder) inBounds(n *Node, v reflect.Value, f *field) {
	if v.Type() == typeSize && Size(v.Int()) == Unlimited {
		return
	}
	if low, ok := bound(v.Type(), f.min); ok && less(v, low) {
		d.r.AddNode(n, "want "+f.rangeText()+", got "+n.Describe(), "")
	} else if high, ok := bound(v.Type(), f.max); ok && less(high, v) {
		d.r.AddNode(n, "want "+f.rangeText()+", got "+n.Describe(), "")
	}
}

// rangeText is bounds as a message says them.
func (f *field) rangeText() string {
	if f.min != "" && f.max != "" {
		return "from " + f.bounds() + f.words()
	}
	return f.bounds() + f.words()
}

// bound reads a min or max tag in the syntax of t.
func bound(t reflect.Type, text string) (reflect.Value, bool) {
	if text == "" {
		return reflect.Value{}, false
	}
	v := reflect.New(t).Elem()
	if readsText(t) {
		if err := unmarshalText(v, text); err != nil {
			panic(fmt.Sprintf("setting: bad bound %q: %v", text, err))
		}
	} else if !setNumber(v, text) {
		panic(fmt.Sprintf("setting: bad bound %q", text))
	}
	return v, true
}

// less compares two numbers of one type.
func less(a, b reflect.Value) bool {
	switch {
	case a.CanInt():
		return a.Int() < b.Int()
	case a.CanUint():
		return a.Uint() < b.Uint()
	case a.CanFloat():
		return a.Float() < b.Float()
	default:
		panic(fmt.Sprintf("setting: a %s has no bounds", a.Type()))
	}
}

// secret reads a secret; no message ever quotes it.
func (d *decoder) secret(n *Node, v reflect.Value) {
	d.r.markSecret(n)
	switch {
	case n.Kind != Scalar:
		d.r.AddNode(n, "want a string, got "+n.Kind.String(), "")
	case n.Text == "":
		d.r.AddNode(n, "want a string, got an empty string: leave the key out instead", "")
	case !n.Quoted && !n.Expanded && notString.MatchString(n.Text):
		d.r.AddNode(n, "want a string, got a number or a boolean: put it in quotes", "")
	default:
		if err := unmarshalText(v, n.Text); err != nil {
			d.r.AddNode(n, err.Error(), "")
		}
	}
}
