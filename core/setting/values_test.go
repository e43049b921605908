package setting_test

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/setting"
)

// Interface guards.
var (
	_ encoding.TextUnmarshaler = (*setting.Duration)(nil)
	_ encoding.TextUnmarshaler = (*setting.Size)(nil)
	_ encoding.TextUnmarshaler = (*setting.Rate)(nil)
	_ encoding.TextUnmarshaler = (*setting.Share)(nil)
	_ encoding.TextUnmarshaler = (*setting.CIDR)(nil)
	_ encoding.TextUnmarshaler = (*setting.Secret)(nil)
	_ encoding.TextMarshaler   = setting.Secret{}
	_ fmt.Formatter            = setting.Secret{}
	_ setting.Described        = setting.Duration(0)
	_ setting.Described        = setting.Size(0)
	_ setting.Described        = setting.Rate{}
	_ setting.Described        = setting.Share(0)
	_ setting.Described        = setting.CIDR{}
	_ setting.Described        = setting.Secret{}
)

func TestValues(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		into encoding.TextUnmarshaler
		text string
		want string // String of the value, or the suggestion after "?", or "!" for none
	}{
		{new(setting.Duration), "250ms", "250ms"},
		{new(setting.Duration), "15m", "15m"},
		{new(setting.Duration), "1h30m", "1h30m"},
		{new(setting.Duration), "90m", "1h30m"},
		{new(setting.Duration), "2h", "2h"},
		{new(setting.Duration), "1h0m5s", "1h0m5s"},
		{new(setting.Duration), "0s", "0s"},
		{new(setting.Duration), "1.5s", "1.5s"},
		{new(setting.Duration), "0", "!"},
		{new(setting.Duration), "5", "?5s"},
		{new(setting.Duration), "1d", "?24h"},
		{new(setting.Duration), "123456d", "!"},
		{new(setting.Duration), "30 S", "?30s"},
		{new(setting.Duration), "-5s", "!"},
		{new(setting.Duration), "+5s", "!"},
		{new(setting.Duration), "- 5s", "!"},
		{new(setting.Duration), "", "!"},
		{new(setting.Duration), " ", "!"},
		{new(setting.Duration), "9999999h", "!"},
		{new(setting.Size), "0B", "0B"},
		{new(setting.Size), "512B", "512B"},
		{new(setting.Size), "64KiB", "64KiB"},
		{new(setting.Size), "1024KiB", "1MiB"},
		{new(setting.Size), "3TiB", "3TiB"},
		{new(setting.Size), "unlimited", "unlimited"},
		{new(setting.Size), "64k", "?64KiB"},
		{new(setting.Size), "64 KB", "?64KiB"},
		{new(setting.Size), "64kib", "?64KiB"},
		{new(setting.Size), "64", "?64B"},
		{new(setting.Size), "10Mi", "?10MiB"},
		{new(setting.Size), "1.5MiB", "!"},
		{new(setting.Size), "-1B", "!"},
		{new(setting.Size), "+1B", "!"},
		{new(setting.Size), "B", "!"},
		{new(setting.Size), "5KK", "!"},
		{new(setting.Size), "9223372036854775807B", "9223372036854775807B"},
		{new(setting.Size), "9223372036854775808B", "!"},
		{new(setting.Size), "8388608TiB", "!"},
		{new(setting.Rate), "1000/1m", "1000/1m"},
		{new(setting.Rate), "20/1s", "20/1s"},
		{new(setting.Rate), "5/m", "?5/1m"},
		{new(setting.Rate), "0/1s", "!"},
		{new(setting.Rate), "-1/1s", "!"},
		{new(setting.Rate), "+1/1s", "!"},
		{new(setting.Rate), "5/0s", "!"},
		{new(setting.Rate), "5", "!"},
		{new(setting.Rate), "5/", "!"},
		{new(setting.Rate), "/1s", "!"},
		{new(setting.Share), "0%", "0%"},
		{new(setting.Share), "7%", "7%"},
		{new(setting.Share), "12.5%", "12.5%"},
		{new(setting.Share), "100%", "100%"},
		{new(setting.Share), "100.1%", "!"},
		{new(setting.Share), "-1%", "!"},
		{new(setting.Share), "0.5", "?50%"},
		{new(setting.Share), "50", "?50%"},
		{new(setting.Share), "1e1%", "!"},
		{new(setting.Share), ".5%", "!"},
		{new(setting.Share), "%", "!"},
		{new(setting.CIDR), "10.0.0.0/8", "10.0.0.0/8"},
		{new(setting.CIDR), "fd00::/8", "fd00::/8"},
		{new(setting.CIDR), "0.0.0.0/0", "0.0.0.0/0"},
		{new(setting.CIDR), "10.0.0.1", "?10.0.0.1/32"},
		{new(setting.CIDR), "::1", "?::1/128"},
		{new(setting.CIDR), "fe80::1%eth0", "!"},
		{new(setting.CIDR), "10.0.0.1/8", "?10.0.0.0/8"},
		{new(setting.CIDR), "::ffff:10.0.0.0/104", "!"},
		{new(setting.CIDR), "10.0.0.0/33", "!"},
		{new(setting.CIDR), "all", "!"},
	} {
		err := c.into.UnmarshalText([]byte(c.text))
		got := "!"
		var e *setting.ValueError
		switch {
		case err == nil:
			got = fmt.Sprint(c.into)
			if s, ok := c.into.(fmt.Stringer); ok {
				got = s.String()
			}
		case !errors.As(err, &e):
			t.Errorf("%T %q: %v is no ValueError", c.into, c.text, err)
			continue
		case e.Suggest != "":
			got = "?" + e.Suggest
			if !strings.Contains(err.Error(), "(did you mean") {
				t.Errorf("%T %q: error %q lacks its suggestion", c.into, c.text, err)
			}
		}
		if got != c.want {
			t.Errorf("%T %q: got %s, %v; want %s", c.into, c.text, got, err, c.want)
		}
	}
}

// describedText is a value that reads itself and describes its form.
type describedText interface {
	encoding.TextUnmarshaler
	setting.Described
	fmt.Stringer
}

// again reads what v prints, and checks it against the pattern of its schema.
func again(t *rapid.T, v, into describedText) {
	text := v.String()
	if err := into.UnmarshalText([]byte(text)); err != nil {
		t.Fatalf("%q can't be read again: %v", text, err)
	}
	if into.String() != text {
		t.Fatalf("%q is read as %q", text, into)
	}
	if pattern, ok := v.JSONSchema()["pattern"].(string); !ok || !regexp.MustCompile(pattern).MatchString(text) {
		t.Fatalf("%q does not fit its schema's pattern %q", text, pattern)
	}
}

func TestValuesPrintAsTheyAreRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := setting.Duration(rapid.Int64Min(0).Draw(t, "duration"))
		var d2 setting.Duration
		again(t, &d, &d2)
		if d != d2 {
			t.Fatalf("%d is read as %d", d, d2)
		}
		z := setting.Size(rapid.Int64Min(0).Draw(t, "size"))
		var z2 setting.Size
		again(t, &z, &z2)
		if z != z2 {
			t.Fatalf("%d is read as %d", z, z2)
		}
		r := setting.Rate{Count: rapid.Int64Min(1).Draw(t, "count"), Per: time.Duration(rapid.Int64Min(1).Draw(t, "per"))}
		var r2 setting.Rate
		again(t, &r, &r2)
		if r != r2 {
			t.Fatalf("%v is read as %v", r, r2)
		}
		p := setting.Share(float64(rapid.IntRange(0, 10000).Draw(t, "share")) / 10000)
		var p2 setting.Share
		again(t, &p, &p2)
		if diff := float64(p - p2); diff > 1e-12 || diff < -1e-12 {
			t.Fatalf("%v is read as %v", float64(p), float64(p2))
		}
		var a [4]byte
		copy(a[:], rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address"))
		c := setting.CIDR{Prefix: netip.PrefixFrom(netip.AddrFrom4(a), rapid.IntRange(0, 32).Draw(t, "bits")).Masked()}
		var c2 setting.CIDR
		again(t, &c, &c2)
		if c != c2 {
			t.Fatalf("%v is read as %v", c, c2)
		}
	})
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	want := netip.MustParsePrefix("10.0.0.0/8")
	if got := setting.Prefixes([]setting.CIDR{{Prefix: want}}); len(got) != 1 || got[0] != want {
		t.Errorf("got %v", got)
	}
}

// TestC11_SecretPrintsMasked tries every way in which a secret might be printed.
func TestC11_SecretPrintsMasked(t *testing.T) {
	t.Parallel()
	const text = "hunter2"
	s := setting.NewSecret(text)
	type holder struct {
		S setting.Secret
		P *setting.Secret
		M map[string]setting.Secret
	}
	h := holder{S: s, P: &s, M: map[string]setting.Secret{"a": s}}
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s"} {
		shown = append(shown, fmt.Sprintf(verb, s), fmt.Sprintf(verb, h), fmt.Sprintf(verb, &s))
	}
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	shown = append(shown, string(encoded), fmt.Sprint(s), s.String(), s.GoString())
	for _, got := range shown {
		if strings.Contains(got, text) || strings.Contains(got, "68756e74657232") {
			t.Errorf("the secret is shown: %s", got)
		}
	}
	if s.Reveal() != text || s.IsZero() || !(setting.Secret{}).IsZero() || (setting.Secret{}).String() != "" {
		t.Error("a secret does not hold its text")
	}
	var masked setting.Secret
	if err := masked.UnmarshalText([]byte(setting.Masked)); err == nil {
		t.Error("the mask was taken for a secret")
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"url", "weight", "timeouts", "endpoints", "path", "paths"}
	for got, want := range map[string]string{
		"urll": "url", "wieght": "weight", "Timeouts": "timeouts", "time-outs": "timeouts", "endpoint": "endpoints",
		"pathes": "paths", "paht": "path", "colour": "", "": "", "url": "", "503": "", "x": "",
		strings.Repeat("w", 100): "",
	} {
		if nearest := setting.Nearest(got, known); nearest != want {
			t.Errorf("Nearest(%q) = %q, want %q", got, nearest, want)
		}
	}
	if got := setting.OneOf(nil) + "," + setting.OneOf(known[:1]) + "," + setting.OneOf(known[:2]); got != "nothing,url,url or weight" {
		t.Errorf("OneOf: %s", got)
	}
}
