package cors

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestOrigins(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"*":                                  "*",
		"null":                               "null",
		"https://app.example.com":            "https://app.example.com",
		"HTTPS://App.Example.COM":            "https://app.example.com",
		"https://app.example.com:443":        "https://app.example.com",
		"http://app.example.com:80":          "http://app.example.com",
		"http://app.example.com:443":         "http://app.example.com:443",
		"https://app.example.com:80":         "https://app.example.com:80",
		"https://app.example.com:8443":       "https://app.example.com:8443",
		"http://localhost:3000":              "http://localhost:3000",
		"http://127.0.0.1:65535":             "http://127.0.0.1:65535",
		"http://[::1]:3000":                  "http://[::1]:3000",
		"https://[2001:DB8:0:0::1]":          "https://[2001:db8::1]",
		"https://xn--bcher-kva.example":      "https://xn--bcher-kva.example",
		"https://a_b.example":                "https://a_b.example",
		"https://3com.example.0xyz":          "https://3com.example.0xyz",
		"capacitor://localhost":              "capacitor://localhost",
		"chrome-extension://abcdefghijklmno": "chrome-extension://abcdefghijklmno",
		"App+x.1-y://Host":                   "app+x.1-y://Host",
	} {
		var o origin
		if err := o.UnmarshalText([]byte(in)); err != nil || string(o) != want {
			t.Errorf("%q: %q, %v; want %q", in, o, err, want)
		}
	}
}

func TestWrongOrigins(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                              "want " + wantOrigin,
		"app.example.com":               "want " + wantOrigin + ` (did you mean "https://app.example.com"?)`,
		"localhost:3000":                "want " + wantOrigin + ` (did you mean "https://localhost:3000"?)`,
		"//app.example.com":             "want " + wantOrigin,
		"1http://a":                     "want " + wantOrigin,
		"ht tp://a":                     "want " + wantOrigin,
		"://a":                          "want " + wantOrigin,
		"NULL":                          "want " + wantOrigin + ` (did you mean "https://null"?)`,
		"https://app.example.com/":      "want " + wantNoPath + ` (did you mean "https://app.example.com"?)`,
		"https://App.example.com/a?b#c": "want " + wantNoPath + ` (did you mean "https://app.example.com"?)`,
		"https://app.example.com?":      "want " + wantNoPath + ` (did you mean "https://app.example.com"?)`,
		`https://app.example.com\@evil`: "want " + wantNoPath,
		"https://user@app.example.com":  "want " + wantNoPath,
		"https://*.example.com":         "want " + wantExact,
		"https://*":                     "want " + wantExact,
		"https://":                      "want " + wantAddress,
		"https://.example.com":          "want " + wantAddress,
		"https://a..example.com":        "want " + wantAddress,
		"https://app.example.com.":      "want " + wantAddress + ` (did you mean "https://app.example.com"?)`,
		"https://a b.example":           "want " + wantAddress,
		"https://a,https://b":           "want " + wantNoPath,
		"https://bücher.example":        "want " + wantASCII,
		"https://a:":                    "want " + wantPort,
		"https://a:0":                   "want " + wantPort,
		"https://a:080":                 "want " + wantPort,
		"https://a:65536":               "want " + wantPort,
		"https://a:b":                   "want " + wantPort,
		"https://::1":                   "want " + wantAddress,
		"https://[::1":                  "want " + wantAddress,
		"https://[::1]x":                "want " + wantAddress,
		"https://[1.2.3.4]":             "want " + wantAddress,
		"https://[fe80::1%25eth0]":      "want " + wantAddress,
		"https://[::ffff:1.2.3.4]":      "want " + wantAddress,
		"http://127.1":                  "want " + wantAddress,
		"http://127.0.0.01":             "want " + wantAddress,
		"http://a.0x7f":                 "want " + wantAddress,
		"http://2130706433":             "want " + wantAddress,
		"file://":                       "want " + wantSendable,
		"data://a":                      "want " + wantSendable,
		"app://a..b":                    "want " + wantAddress,
		"https://" + strings.Repeat("a", longestLabel+1):        "want " + wantAddress,
		"https://" + strings.Repeat("a.", longestName/2) + "aa": "want " + wantAddress,
	} {
		var o origin
		if err := o.UnmarshalText([]byte(in)); err == nil || err.Error() != want || o != "" {
			t.Errorf("%q: %q, %v; want %s", in, o, err, want)
		}
	}
}

// checkOrigin: what is taken stays as it is when it is read again, and says the same
// to a parser of URLs.
func checkOrigin(t interface {
	Helper()
	Fatalf(string, ...any)
}, in string) {
	t.Helper()
	var o, again origin
	if o.UnmarshalText([]byte(in)) != nil || o == anyOrigin || o == nullOrigin {
		return
	}
	if err := again.UnmarshalText([]byte(o)); err != nil || again != o {
		t.Fatalf("%q became %q, and that %q, %v", in, o, again, err)
	}
	u, err := url.Parse(string(o))
	if err != nil || u.Scheme+"://"+u.Host != string(o) || u.User != nil || u.Path != "" || u.Port() != "" && u.Port() == defaultPorts[u.Scheme] {
		t.Fatalf("%q became %q, which reads as %+v, %v", in, o, u, err)
	}
	if before, err := url.Parse(in); err != nil || !strings.EqualFold(before.Hostname(), u.Hostname()) && !strings.Contains(in, "[") {
		t.Fatalf("%q became %q: another host, %v", in, o, err)
	}
	if strings.ContainsAny(string(o), " \t\r\n,*@/?#\\\x00") && strings.Count(string(o), "/") != 2 {
		t.Fatalf("%q became %q", in, o)
	}
}

func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{
		"https://app.example.com", "HTTP://A:80", "https://[2001:db8::1]:443", "http://127.0.0.1", "http://0x7f.1", "app://X:1",
		"https://a/", "https://a@b", "https://a.", "null", "*", "https://xn--a", "http://a:00080", "https://[::ffff:1.2.3.4]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) { checkOrigin(t, in) })
}

func TestAnyOrigin(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{
		"http", "https", "app", "://", ":", ":80", ":443", ":8080", "a", "B.c", ".", "-", "[::1]", "[2001:DB8::]", "127.0.0.1", "1", "0x1", "/", "?", "@", "*", "é", " ",
	})
	rapid.Check(t, func(t *rapid.T) {
		checkOrigin(t, rapid.SampledFrom([]string{"http://", "HTTPS://", "x://", ""}).Draw(t, "scheme")+strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), ""))
	})
}
