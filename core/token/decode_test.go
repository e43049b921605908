package token

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestI3_DecoderKnowsTheWholeGrammar(t *testing.T) {
	for text, want := range map[string]map[string]any{
		`{}`:                                 {},
		" {\t}\r\n":                          {},
		`{"a":null,"b":true,"c":false}`:      {"a": nil, "b": true, "c": false},
		`{"a":[],"b":{},"c":[1,"x",[null]]}`: {"a": []any{}, "b": map[string]any{}, "c": []any{json.Number("1"), "x", []any{nil}}},
		`{"a":0,"b":-0,"c":-1.5e+10,"d":1E2,"e":0.0e-0}`:          {"a": json.Number("0"), "b": json.Number("-0"), "c": json.Number("-1.5e+10"), "d": json.Number("1E2"), "e": json.Number("0.0e-0")},
		`{"a":"\"\\\/\b\f\n\r\t\u0041\u00e4\u20AC\ud83d\ude00é"}`: {"a": "\"\\/\b\f\n\r\tAä€😀é"},
		`{"":""}`:        {"": ""},
		`{"a":"\u0000"}`: {"a": "\x00"},
		`{"a":1,"A":2}`:  {"a": json.Number("1"), "A": json.Number("2")},
		`{"a":"x\u0041y","b"` + ":\n" + `12345678901234567890}`: {"a": "xAy", "b": json.Number("12345678901234567890")},
	} {
		got, err := decodeObject(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestI3_DecoderRefuses(t *testing.T) {
	for _, text := range []string{
		``, ` `, `{`, `}`, `{}}`, `{} {}`, `[]`, `1`, `"a"`, `null`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`, `{"a" 1}`, `{a:1}`, `{'a':1}`, `{1:1}`,
		`{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":[1}`, `{"a":[}`, `{"a":tru}`, `{"a":nul}`, `{"a":nulll}`, `{"a":True}`, `{"a":NaN}`, `{"a":-}`, `{"a":+1}`,
		`{"a":01}`, `{"a":-01}`, `{"a":.5}`, `{"a":1.}`, `{"a":1.e5}`, `{"a":1e}`, `{"a":1e+}`, `{"a":0x1}`, `{"a":1_000}`, `{"a":Infinity}`, `{"a":1f}`,
		`{"a":"`, `{"a":"b}`, `{"a":"\`, `{"a":"\x"}`, `{"a":"\u"}`, `{"a":"\u12"}`, `{"a":"\u12G4"}`, `{"a":"\U0041"}`, "{\"a\":\"\n\"}", "{\"a\":\"\\t\x01\"}", "{\"a\":\"\x00\"}",
		`{"a":"\ud800"}`, `{"a":"\udc00"}`, `{"a":"\ud800x"}`, `{"a":"\ud800\u0041"}`, `{"a":"\ud800\ud800"}`, `{"a":"\ud800\u00"}`, `{"\ud800":1}`, "{\"a\":\"\xff\"}", "{\"a\xc0\xaf\":1}", "\ufeff{}",
		`{"a":1,"a":1}`, `{"a":1,"\u0061":1}`, `{"b":{"a":1,"a":1}}`, `{"b":[{"a":1,"a":1}]}`, "{}\x00", "{\x00}", "{\v}", "{\u00a0}",
		`{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`,
		strings.Repeat(`{"a":`, maxDepth+1) + `1` + strings.Repeat("}", maxDepth+1),
	} {
		if got, err := decodeObject(text); err == nil {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
	deep := `{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`
	if _, err := decodeObject(deep); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
}

// jsonValue draws any value that a claim can have.
func jsonValue(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.String().AsAny(),
		rapid.Custom(func(t *rapid.T) any {
			text, _ := json.Marshal(rapid.Float64Range(-1e300, 1e300).Draw(t, "number"))
			return json.Number(text)
		}),
	}
	if depth == 0 {
		return rapid.OneOf(leaves...)
	}
	deeper := rapid.Deferred(func() *rapid.Generator[any] { return jsonValue(depth - 1) })
	return rapid.OneOf(append(leaves, rapid.SliceOfN(deeper, 0, 3).AsAny(), rapid.MapOfN(rapid.String(), deeper, 0, 3).AsAny())...)
}

// What encoding/json writes is read back as it was.
func TestI3_DecoderReadsWhatOthersWrite(t *testing.T) {
	object := rapid.MapOfN(rapid.String(), jsonValue(3), 0, 6)
	rapid.Check(t, func(t *rapid.T) {
		want := object.Draw(t, "object")
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeObject(string(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !same(map[string]any(want), got) {
			t.Fatalf("%s was read as %v", text, got)
		}
	})
}

// same compares values; empty and nil slices are alike.
func same(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// Whatever we take, encoding/json takes and reads alike: no two readers of a token
// of ours see different claims.
func FuzzI3_Claims(f *testing.F) {
	for _, seed := range []string{
		`{"iss":"a","aud":["b"],"exp":1.5e9,"x":{"y":[null,true,"\u00e9"]}}`, `{"a":1,"a":2}`, `{"\ud83d\ude00":-0.0}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", strings.Repeat(`{"a":`, 20), `{"a":[[[[]]]]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := decodeObject(text)
		if err != nil {
			return
		}
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var want map[string]any
		if err := d.Decode(&want); err != nil {
			t.Fatalf("%q was taken, and encoding/json says %v", text, err)
		}
		if !reflect.DeepEqual(want, got) {
			t.Fatalf("%q is %v for us, %v for encoding/json", text, got, want)
		}
	})
}

// A token that is taken apart can be put together again in one way only.
func FuzzI3_Split(f *testing.F) {
	enc := base64.RawURLEncoding.EncodeToString
	f.Add(enc([]byte(`{"alg":"RS256"}`)) + "." + enc([]byte(`{"iss":"a"}`)) + "." + enc([]byte("signature")))
	f.Add("e30.e30.AA")
	f.Add("e30.e30.AB")
	f.Add("e30\n.e30.AA")
	f.Add("e30=.e30.AA")
	f.Add("....")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := split(text)
		if err != nil {
			if p.header != nil && p.claims != nil && p.signature != nil {
				t.Fatal("all parts beside an error")
			}
			return
		}
		first, second, _ := strings.Cut(p.signed, ".")
		for _, part := range []string{first, second} {
			raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
			if err != nil || enc(raw) != part {
				t.Fatalf("part %q has another spelling", part)
			}
		}
		if p.signed+"."+enc(p.signature) != text || len(text) > maxToken {
			t.Fatalf("%q is not what was taken apart", text)
		}
	})
}
