package setting_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/suuupra/gateway/core/setting"
)

// color is a text type of a plugin's own.
type color string

func (c *color) UnmarshalText(text []byte) error {
	if string(text) != "red" && string(text) != "blue" {
		return errors.New("want red or blue")
	}
	*c = color(text)
	return nil
}

// either is a string, or a list of strings.
type eitherForm struct{ List []string }

func (e *eitherForm) DecodeSetting(n *setting.Node, r *setting.Report) {
	if n.Kind == setting.Scalar {
		e.List = make([]string, 1)
		setting.Decode(n, &e.List[0], r)
		return
	}
	setting.Decode(n, &e.List, r)
}

func (eitherForm) JSONSchema() map[string]any {
	return map[string]any{"type": []any{"string", "array"}}
}

type retry struct {
	Times int `yaml:"times" default:"3" min:"0" max:"9"`
}

func (r *retry) Disable() { r.Times = 0 }

type item struct {
	Name string           `yaml:"@key"`
	At   setting.Position `yaml:"@at"`
	Node *setting.Node    `yaml:"@node"`
	Size setting.Size     `yaml:"size" default:"1KiB"`
}

type inner struct {
	Level string `yaml:"level" default:"low" enum:"low|high"`
}

type everything struct {
	Text     string                   `yaml:"text" default:"none" doc:"A text."`
	Blank    string                   `yaml:"blank" empty:"true"`
	Number   int                      `yaml:"number" default:"5" min:"1" max:"100"`
	Small    int8                     `yaml:"small"`
	Count    uint16                   `yaml:"count" max:"500"`
	Ratio    float64                  `yaml:"ratio" default:"0.5" min:"0" max:"1"`
	Flag     bool                     `yaml:"flag" default:"true"`
	Wait     setting.Duration         `yaml:"wait" default:"1s" min:"1ms" off:"true"`
	Size     setting.Size             `yaml:"size" default:"1MiB" max:"1GiB" unlimited:"true"`
	Rate     setting.Rate             `yaml:"rate"`
	Share    setting.Share            `yaml:"share" default:"20%" max:"50%"`
	Secret   setting.Secret           `yaml:"secret" doc:"Never shown."`
	Nets     []setting.CIDR           `yaml:"nets"`
	Words    setting.StringList       `yaml:"words" default:"a,b" enum:"a|b|c"`
	Color    color                    `yaml:"color" default:"red"`
	Colors   []color                  `yaml:"colors"`
	Form     eitherForm               `yaml:"form"`
	Retry    retry                    `yaml:"retry"`
	Again    *retry                   `yaml:"again"`
	Inner    inner                    `yaml:"inner"`
	Pointer  *inner                   `yaml:"pointer"`
	PNumber  *int                     `yaml:"pnumber"`
	Items    []*item                  `yaml:"items,named"`
	List     []item                   `yaml:"list"`
	Map      map[string]int           `yaml:"map" min:"0"`
	Pointers map[string]*inner        `yaml:"pointers"`
	Raw      map[string]*setting.Node `yaml:"raw"`
	Node     *setting.Node            `yaml:"node"`
	Mode     string                   `yaml:"mode" default:"off" off:"true" enum:"names"`
	Skipped  string                   `yaml:"-"`
	Embedded `yaml:",inline"`
	hidden   int
}

// Embedded is inlined.
type Embedded struct {
	Deep string `yaml:"deep" default:"down"`
}

// decode parses and decodes text.
func decode(t *testing.T, text string, o setting.ReportOptions) (everything, *setting.Report) {
	t.Helper()
	r := setting.NewReport(o)
	n := setting.Parse("dir/f", []byte(text), r)
	var v everything
	setting.Decode(n, &v, r)
	if v.hidden != 0 || v.Skipped != "" {
		t.Errorf("fields without a key were touched: %+v", v)
	}
	return v, r
}

// defaults is what an empty document decodes to.
func defaults() everything {
	return everything{
		Text: "none", Number: 5, Ratio: 0.5, Flag: true, Wait: setting.Duration(time.Second), Size: 1 << 20, Share: 0.2,
		Words: setting.StringList{"a", "b"}, Color: "red", Retry: retry{Times: 3}, Inner: inner{Level: "low"}, Embedded: Embedded{Deep: "down"},
	}
}

var ignore = cmp.Options{
	cmpopts.IgnoreTypes(setting.Position{}, &setting.Node{}), cmpopts.IgnoreUnexported(everything{}),
	cmpopts.EquateComparable(setting.CIDR{}, setting.Secret{}), cmpopts.EquateEmpty(),
}

func TestDecode(t *testing.T) {
	t.Parallel()
	pnumber := 7
	for name, c := range map[string]struct {
		in   string
		want func(*everything)
	}{
		"nothing":   {"", func(*everything) {}},
		"empty map": {"{}", func(*everything) {}},
		"scalars": {"text: hello world\nblank: ''\nnumber: 7\nsmall: -128\ncount: 500\nratio: 1\nflag: false\nwait: 2m\nsize: 64KiB\nrate: 5/1s\nshare: 50%\ncolor: blue\n", func(v *everything) {
			v.Text, v.Number, v.Small, v.Count, v.Ratio, v.Flag, v.Wait = "hello world", 7, -128, 500, 1, false, setting.Duration(2*time.Minute)
			v.Size, v.Rate, v.Share, v.Color = 64<<10, setting.Rate{Count: 5, Per: time.Second}, 0.5, "blue"
		}},
		"quoted texts": {"text: 'off'\nwait: \"2s\"\n", func(v *everything) { v.Text, v.Wait = "off", setting.Duration(2*time.Second) }},
		"block text":   {"text: |\n  5\n", func(v *everything) { v.Text = "5\n" }},
		"off":          {"flag: off\nwait: off\nretry: off\nagain: off\npointer: off\nitems: {a: off}\npointers: {a: false}\nraw: {a: off}\n", func(v *everything) { v.Flag, v.Wait, v.Retry.Times, v.Again = false, 0, 0, &retry{} }},
		"on":           {"flag: on", func(*everything) {}},
		"unlimited":    {"size: unlimited", func(v *everything) { v.Size = setting.Unlimited }},
		"secret":       {"secret: 'a b'", func(v *everything) { v.Secret = setting.NewSecret("a b") }},
		"lists": {"words: [c]\ncolors: [red, blue]\nlist: [{size: 2KiB}, {}]\n", func(v *everything) {
			v.Words, v.Colors, v.List = setting.StringList{"c"}, []color{"red", "blue"}, []item{{Size: 2048}, {Size: 1024}}
		}},
		"commas":    {"words: c, a\ncolors: 'red,blue'\n", func(v *everything) { v.Words, v.Colors = setting.StringList{"c", "a"}, []color{"red", "blue"} }},
		"empty":     {"words: []\nmap: {}\n", func(v *everything) { v.Words = nil }},
		"forms":     {"form: x\nnode: {a: [1]}\n", func(v *everything) { v.Form.List = []string{"x"} }},
		"form list": {"form: [x, y]\n", func(v *everything) { v.Form.List = []string{"x", "y"} }},
		"structs": {"inner: {level: high}\npointer: {}\nagain: {times: 1}\npnumber: 7\nretry: {times: 0}\ndeep: up\n", func(v *everything) {
			v.Inner.Level, v.Pointer, v.Again, v.PNumber, v.Retry.Times, v.Deep = "high", &inner{Level: "low"}, &retry{Times: 1}, &pnumber, 0, "up"
		}},
		"maps": {"map: {a: 1, b: 0}\npointers: {a: {}}\nitems: {z: {}, a: {size: 1B}}\n", func(v *everything) {
			v.Map, v.Pointers = map[string]int{"a": 1, "b": 0}, map[string]*inner{"a": {Level: "low"}}
			v.Items = []*item{{Name: "a", Size: 1}, {Name: "z", Size: 1024}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, r := decode(t, c.in, setting.ReportOptions{})
			if err := r.Err(); err != nil {
				t.Error(err)
			}
			want := defaults()
			c.want(&want)
			if diff := cmp.Diff(want, got, ignore); diff != "" {
				t.Errorf("value (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodePlaces(t *testing.T) {
	t.Parallel()
	v, r := decode(t, "items:\n  a: {size: 1B}\nraw:\n  p: {x: 1}\nlist:\n  - {size: 2B}\n", setting.ReportOptions{})
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if got := v.Items[0].At.String() + " " + v.Items[0].Node.At.String() + " " + v.Raw["p"].Get("x").At.String() + " " + v.List[0].At.String(); got != "dir/f:2:3 dir/f:2:6 dir/f:4:10 dir/f:6:5" {
		t.Errorf("places: %s", got)
	}
	var at setting.Position
	if !at.IsZero() || at.String() != "" || (setting.Position{Source: "row 5"}).String() != "row 5" {
		t.Error("a position without a line prints its source alone")
	}
}

func TestDecodeProblems(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a: 1":                          `a: unknown key "a"; known here: text, blank, number, small, count, ratio, flag, wait, size, rate, share, secret, nets, words, color, colors, form, retry, again, inner, pointer, pnumber, items, list, map, pointers, raw, node, mode, deep`,
		"secrte: x":                     `secrte: unknown key "secrte" (did you mean "secret"?)`,
		"- x":                           "want a map, got a list",
		"text: [x]":                     "text: want a string, got a list",
		"text: 5":                       "text: want a string, got 5 without quotes: put it in quotes",
		"text: 1e5":                     "text: want a string, got 1e5 without quotes: put it in quotes",
		"text: .5":                      "text: want a string, got .5 without quotes: put it in quotes",
		"text: true":                    "text: want a string, got true without quotes: put it in quotes",
		"text: off":                     "text: want a string, got off without quotes: put it in quotes",
		"text: ~":                       "text: want a string, got nothing: leave the key out or give it a value",
		"text: ''":                      "text: want a string, got an empty string: leave the key out instead",
		"text: &a 5":                    "text: want a string, got 5 without quotes: put it in quotes",
		"number: 0":                     `number: want from 1 to 100, got "0"`,
		"number: 1.0":                   `number: want a whole number (1 to 100), got "1.0"`,
		"number: '5'":                   `number: want a whole number (1 to 100), got the string "5": leave out the quotes`,
		"number: x":                     `number: want a whole number (1 to 100), got "x"`,
		"small: 128":                    `small: want a whole number, got "128"`,
		"count: -1":                     `count: want a whole number (at most 500), got "-1"`,
		"count: 501":                    `count: want at most 500, got "501"`,
		"count: 70000":                  `count: want a whole number (at most 500), got "70000"`,
		"ratio: 1.5":                    `ratio: want from 0 to 1, got "1.5"`,
		"ratio: -0.5":                   `ratio: want from 0 to 1, got "-0.5"`,
		"ratio: 1e0":                    `ratio: want a number (0 to 1), got "1e0"`,
		"ratio: '1'":                    `ratio: want a number (0 to 1), got the string "1": leave out the quotes`,
		"flag: 'true'":                  `flag: want true or false, got the string "true": leave out the quotes`,
		"flag: 'x'":                     `flag: want true or false, got the string "x"`,
		"flag: ture":                    `flag: want true or false, got "ture" (did you mean "true"?)`,
		"flag: 1":                       `flag: want true or false, got "1"`,
		"wait: 0s":                      `wait: want at least 1ms, or off, got "0s"`,
		"wait: 5":                       `wait: want a duration such as 250ms, 30s or 15m, or off, got "5" (did you mean "5s"?)`,
		"wait: 'off'":                   `wait: want off without quotes, got the string "off"`,
		"size: 2GiB":                    `size: want at most 1GiB, or unlimited, got "2GiB"`,
		"size: unlimted":                `size: want a size such as 512B, 64KiB or 10MiB, or unlimited, got "unlimted"`,
		"size: off":                     `size: want a size such as 512B, 64KiB or 10MiB, or unlimited, got "off"`,
		"items: {a: {size: unlimited}}": `items.a.size: want a size such as 512B, 64KiB or 10MiB, got "unlimited"`,
		"rate: 5/m":                     `rate: want a rate such as 1000/1m or 20/1s, got "5/m" (did you mean "5/1m"?)`,
		"rate: {}":                      `rate: want a rate such as 1000/1m or 20/1s, got a map`,
		"share: 60%":                    `share: want at most 50%, got "60%"`,
		"share: []":                     `share: want a share from 0% to 100%, got a list`,
		"nets: 10.0.0.0/8, x":           `nets[1]: want a network such as 10.0.0.0/8 or fd00::/8, got "x"`,
		"nets: [{}]":                    `nets[0]: want a network such as 10.0.0.0/8 or fd00::/8, got a map`,
		"words: [a, d]":                 `words[1]: want a, b or c, got "d"`,
		"words: a,,b":                   `words[1]: want a, b or c, got an empty string: leave the key out instead`,
		"words: off":                    `words: want a list or a comma-separated string, got "off"`,
		"words: [5]":                    `words[0]: want a, b or c, got "5"`,
		"list: x":                       `list: want a list, got "x"`,
		"list: [x]":                     `list[0]: want a map, got "x"`,
		"color: green":                  `color: want red or blue, got "green"`,
		"color: {}":                     `color: want a string, got a map`,
		"mode: name":                    `mode: want names or off, got "name" (did you mean "names"?)`,
		"retry: 'off'":                  `retry: want off without quotes, got the string "off"`,
		"inner: off":                    `inner: want a map, got "off": it can't be switched off`,
		"inner: {level: hihg}":          `inner.level: want low or high, got "hihg" (did you mean "high"?)`,
		"inner: {level: 5}":             `inner.level: want low or high, got "5"`,
		"pointer: 'off'":                `pointer: want off without quotes, got the string "off"`,
		"items: [a]":                    `items: want a map of names, got a list`,
		"items: {a b: {}}":              `items."a b": want a name of at most 64 letters, digits, dots, hyphens and underscores, got "a b"`,
		"items: {-a: {}}":               `items.-a: want a name of at most 64 letters, digits, dots, hyphens and underscores, got "-a"`,
		"items: {a: 5}":                 `items.a: want a map, got "5"`,
		"map: {a: x}":                   `map.a: want a whole number (at least 0), got "x"`,
		"map: {a: -1}":                  `map.a: want at least 0, got "-1"`,
		"map: 5":                        `map: want a map, got "5"`,
		"secret: 5":                     `secret: want a string, got a number or a boolean: put it in quotes`,
		"secret: {}":                    `secret: want a string, got a map`,
		"secret: ''":                    `secret: want a string, got an empty string: leave the key out instead`,
		"secret: '***'":                 `secret: want the secret itself: this is the mask that stands for one`,
		"{secret: x, secret_file: y}":   `secret_file: want secret or secret_file, got both`,
		"secret_file: [x]":              `secret_file: want a string, got a list`,
		"secret_file: none":             `secret_file: want a file that can be read, got "none": file does not exist`,
		"secret_file: empty":            `secret_file: want a file that holds the secret, got an empty one`,
		"text: " + strings.Repeat("é", 100) + "\ntxet: 5": `txet: unknown key "txet" (did you mean "text"?)`,
		"number: " + strings.Repeat("é", 100):             `number: want a whole number (1 to 100), got "` + strings.Repeat("é", 40) + `…"`,
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			_, r := decode(t, in, setting.ReportOptions{ReadFile: files})
			var got []string
			for _, p := range r.Problems() {
				if p.At.Source != "dir/f" || p.At.Line == 0 || p.Warning {
					t.Errorf("a problem has no place: %+v", p)
				}
				p.At = setting.Position{}
				got = append(got, p.String())
			}
			if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// files stands for the files that hold secrets.
func files(name string) ([]byte, error) {
	switch name {
	case "dir/empty":
		return []byte("\n"), nil
	case "dir/one", "/abs/one":
		return []byte("s3cr3t\r\n"), nil
	case "dir/odd":
		return nil, errors.New("the disk is gone")
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func TestSecretFile(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"secret_file: one", "secret_file: /abs/one", "{secret_file: one, secret: off}"} {
		v, r := decode(t, in, setting.ReportOptions{ReadFile: files})
		if err := r.Err(); err != nil || v.Secret.Reveal() != "s3cr3t" {
			t.Errorf("%s: got %q, %v", in, v.Secret.Reveal(), err)
		}
	}
	v, r := decode(t, "{secret: direct, secret_file: off}", setting.ReportOptions{ReadFile: files})
	if err := r.Err(); err != nil || v.Secret.Reveal() != "direct" {
		t.Errorf("switched off: got %q, %v", v.Secret.Reveal(), err)
	}
	if _, r := decode(t, "secret_file: nowhere", setting.ReportOptions{ReadFile: files, Tolerant: true}); r.Failed() {
		t.Errorf("tolerant: %v", r.Err())
	}
	if _, r := decode(t, "secret_file: odd", setting.ReportOptions{ReadFile: files}); r.Err() == nil || !strings.HasSuffix(r.Err().Error(), `got "odd": the disk is gone`) {
		t.Errorf("another error: %v", r.Err())
	}
	if _, r := decode(t, "secret_file: nowhere", setting.ReportOptions{}); r.Err() == nil || !strings.Contains(r.Err().Error(), "no such file") {
		t.Errorf("the file system: %v", r.Err())
	}
}

// TestMergedOff says what off means where something stood beneath.
func TestMergedOff(t *testing.T) {
	t.Parallel()
	var r setting.Report
	base := setting.Parse("base", []byte("text: a\nnumber: 9\nwords: [c]\ninner: {level: high}\nretry: {times: 1}\nwait: 9s\nmap: {a: 1, b: 2}\nflag: true\nsecret: x\nitems: {a: {}}\n"), &r)
	over := setting.Parse("over", []byte("text: off\nnumber: off\nwords: off\ninner: off\nretry: off\nwait: off\nmap: {a: off}\nflag: off\nsecret: off\nitems: off\n"), &r)
	var got everything
	setting.Decode(setting.Merge(base, over), &got, &r)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Retry.Times, want.Wait, want.Map, want.Flag = 0, 0, map[string]int{"b": 2}, false
	if diff := cmp.Diff(want, got, ignore); diff != "" {
		t.Errorf("value (-want +got):\n%s", diff)
	}
}

// TestBadTypes wants a panic that names the mistake: these are programs' errors.
func TestBadTypes(t *testing.T) {
	t.Parallel()
	var n setting.Report
	node := setting.Parse("f", []byte("a: 1"), &n)
	for name, into := range map[string]any{
		"no pointer": struct{}{},
		"nil":        (*everything)(nil),
		"no tag":     &struct{ A int }{},
		"unexported": &struct {
			a int `yaml:"a"`
		}{},
		"bad default": &struct {
			A int `yaml:"b" default:"x"`
		}{},
		"bad bound": &struct {
			A int `yaml:"a" min:"x"`
		}{},
		"bad bound of a text": &struct {
			A setting.Duration `yaml:"b" default:"1s"`
			B setting.Duration `yaml:"a" min:"x"`
		}{},
		"interface": &struct {
			A any `yaml:"a"`
		}{},
		"channel": &struct {
			A chan int `yaml:"a"`
		}{},
		"array": &struct {
			A [1]int `yaml:"a"`
		}{},
		"role": &struct {
			A int `yaml:"@at"`
		}{},
		"named": &struct {
			A []int `yaml:"a,named"`
		}{},
		"keys": &struct {
			A map[int]int `yaml:"a"`
		}{},
		"bounds of a text": &struct {
			A color `yaml:"a" min:"red"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if p, ok := recover().(string); !ok || !strings.HasPrefix(p, "setting: ") {
					t.Errorf("no panic that says why: %v", p)
				}
			}()
			value := node
			if name == "bad bound of a text" {
				value = setting.Parse("f", []byte("a: 1s"), &setting.Report{})
			}
			if name == "bounds of a text" {
				value = setting.Parse("f", []byte("a: red"), &setting.Report{})
			}
			if name == "keys" {
				value = setting.Parse("f", []byte("a: {1: 1}"), &setting.Report{})
			}
			setting.Decode(value, into, &setting.Report{})
		})
	}
}

// FuzzDecode wants no panic, a place for every problem, and no value without one.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"text: a\nnumber: 5\n", "words: a, b\nnets: [10.0.0.0/8]\n", "items: {a: {size: 1B}}\nmap: {a: 1}\n", "retry: off\nagain: {times: 2}\n",
		"text: ${A}\nsecret: ${B:-x}\nnumber: $${\n", "raw: {a: {b: c}}\nform: [x]\n", "share: 5%\nrate: 5/1s\nsize: unlimited\n", "<<: {text: 1}\npnumber: 0\n",
	} {
		f.Add(seed, "x")
	}
	f.Fuzz(func(t *testing.T, in, value string) {
		r := setting.NewReport(setting.ReportOptions{ReadFile: files})
		n := setting.Parse("dir/f", []byte(in), r)
		setting.Expand(n, setting.Variables{Lookup: func(name string) (string, bool) { return value, name == "A" }}, r)
		var v everything
		setting.Decode(n, &v, r)
		for _, p := range r.Problems() {
			if p.At.Source != "dir/f" || p.At.Line < 1 || p.At.Column < 1 {
				t.Errorf("a problem has no place: %+v", p)
			}
		}
		var b strings.Builder
		if err := r.Write(&b); err != nil {
			t.Error(err)
		}
	})
}
