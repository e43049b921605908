package accesslog

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestAppendText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", `""`},
		{"plain", "/a/b%20c", `"/a/b%20c"`},
		{"quote and backslash", `a"b\c`, `"a\"b\\c"`},
		{"line ends", "a\r\n{\"status\":200}", `"a\u000d\u000a{\"status\":200}"`},
		{"controls", "\x00\x1b[31m\x7f", `"\u0000\u001b[31m\u007f"`},
		{"C1 controls", "\u0085\u009b", `"\u0085\u009b"`},
		{"letters beyond ASCII", "grün", `"gr\u00fcn"`},
		{"right-to-left override", "a\u202eb", `"a\u202eb"`},
		{"beyond the first plane", "😀", `"\ud83d\ude00"`},
		{"no UTF-8", "a\xffb\xc3", `"a\ufffdb\ufffd"`},
		{"as long as may be", strings.Repeat("a", 512), `"` + strings.Repeat("a", 512) + `"`},
		{"one too long", strings.Repeat("a", 513), `"` + strings.Repeat("a", 506) + `\u2026"`},
		{"escapes that just fit", strings.Repeat(`"`, 256), `"` + strings.Repeat(`\"`, 256) + `"`},
		{"escapes that don't", strings.Repeat(`"`, 257), `"` + strings.Repeat(`\"`, 253) + `\u2026"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := string(appendText(nil, c.in)); got != c.want {
				t.Errorf("text %q\n got %s\nwant %s", c.in, got, c.want)
			}
			if got := string(appendText(nil, []byte(c.in))); got != c.want {
				t.Errorf("bytes %q\n got %s\nwant %s", c.in, got, c.want)
			}
		})
	}
}

// checkText holds appendText to what every line relies on.
func checkText(t interface{ Fatalf(string, ...any) }, in string) {
	got := appendText([]byte("before"), in)
	escaped := string(got[len("before"):])
	if !strings.HasPrefix(string(got), "before") || len(escaped) > maxText+2 {
		t.Fatalf("%q became %d bytes", in, len(escaped))
	}
	for i := range len(escaped) {
		if escaped[i] < ' ' || escaped[i] > '~' {
			t.Fatalf("%q left byte %#x in %s", in, escaped[i], escaped)
		}
	}
	var back string
	if err := json.Unmarshal([]byte(escaped), &back); err != nil {
		t.Fatalf("%q became %s: %v", in, escaped, err)
	}
	whole := strings.ToValidUTF8(eachInvalid(in), "\ufffd")
	if back == whole {
		return
	}
	cut, ok := strings.CutSuffix(back, "…")
	if !ok || !strings.HasPrefix(whole, cut) {
		t.Fatalf("%q came back as %q", in, back)
	}
}

// eachInvalid replaces every single byte that is no UTF-8, as a decoder does;
// strings.ToValidUTF8 replaces a run of them at once.
func eachInvalid(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		b.WriteRune(r)
		i += size
	}
	return b.String()
}

func TestAppendTextKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(
			rapid.String(),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 700), func(b []byte) string { return string(b) }),
			rapid.Map(rapid.SliceOfN(rapid.Rune(), 60, 300), func(r []rune) string { return string(r) }),
		).Draw(t, "in")
		checkText(t, in)
	})
}

func FuzzAppendText(f *testing.F) {
	for _, seed := range []string{"", "/path", "a\"b", "\xff", "😀" + strings.Repeat("a", 505), strings.Repeat("\n", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) { checkText(t, in) })
}
