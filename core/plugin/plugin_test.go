package plugin_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/suuupra/gateway/core/pipeline"
	"github.com/suuupra/gateway/core/plugin"
	"github.com/suuupra/gateway/core/plugin/plugintest"
	"github.com/suuupra/gateway/core/setting"
)

type greeting struct {
	Word  string             `yaml:"word" default:"hello" doc:"What to say."`
	Times int                `yaml:"times" default:"1" min:"1" max:"3" doc:"How often."`
	Names setting.StringList `yaml:"names" doc:"To whom."`
}

func checkGreeting(o greeting, r *setting.Report) {
	for i, name := range o.Names {
		if name == "nobody" {
			r.AddField("names["+string(rune('0'+i))+"]", "nobody can't be greeted", "somebody")
		}
	}
}

func buildGreeting(o greeting, d *plugin.Deps) (pipeline.Instance, error) {
	if o.Word == "fail" {
		return pipeline.Instance{}, errors.New("out of breath")
	}
	var instance pipeline.Instance
	instance.Hooks[pipeline.Response] = func(x *pipeline.Exchange) pipeline.Verdict {
		x.Response.SetBodyString(strings.Repeat(o.Word, o.Times) + " from " + d.Route)
		return pipeline.Respond
	}
	return instance, nil
}

var greet = plugin.Of("greet", checkGreeting, buildGreeting)

func TestCheckReportsEveryProblem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, options string
		want          []string
	}{
		{"nothing wrong", `{word: hi, names: [a]}`, nil},
		{"no options", `{}`, nil},
		{
			"what the types say", "word: 5\ntimes: 9\nwrod: x",
			[]string{
				`options.yaml:1:7: word: want a string`,
				`options.yaml:2:8: times: want`,
				`options.yaml:3:1: wrod: unknown key "wrod" (did you mean "word"?)`,
			},
		},
		{
			"what check says", "names: [a, nobody]",
			[]string{`options.yaml:1:12: names[1]: nobody can't be greeted (did you mean "somebody"?)`},
		},
		{
			"one mistake is reported once", "times: x\nnames: [nobody]",
			[]string{`options.yaml:1:8: times: want a`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := plugintest.Problems(t, greet, c.options)
			if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
				t.Errorf("got %q\nwant what begins with %q", got, c.want)
			}
		})
	}
}

// A default is read for many routes, and a report drops what it was told before.
func TestCheckNeverChecksWhatCouldNotBeRead(t *testing.T) {
	t.Parallel()
	called := 0
	p := plugin.Of("p", func(greeting, *setting.Report) { called++ }, buildGreeting)
	var r setting.Report
	n := setting.Parse("f.yaml", []byte("times: 9"), &r)
	p.Check(n, plugin.Around{}, &r)
	p.Check(n, plugin.Around{}, &r)
	if called != 0 || len(r.Problems()) != 1 {
		t.Errorf("check was called %d times, problems: %v", called, r.Problems())
	}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	built := plugintest.Build(t, greet, `{word: hi, times: 2}`)
	x := plugintest.Exchange(t, "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n")
	plugintest.Answer(t, x, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: 1\r\nContent-Length: 3\r\n\r\nabc")
	if v := built.Run(pipeline.Response, x); v != pipeline.Respond {
		t.Errorf("verdict %v", v)
	}
	if v := built.Run(pipeline.Log, x); v != pipeline.Continue {
		t.Errorf("a phase without a hook gives %v", v)
	}
	want := "200\nContent-Length: 3\nContent-Type: text/plain\nX-A: 1\n\nhihi from test"
	if diff := cmp.Diff(want, plugintest.Text(x)); diff != "" {
		t.Error(diff)
	}
}

func TestBuildFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, options, want string }{
		{"by its options", `{times: 0}`, "options of greet: options.yaml:1:9: times: want"},
		{"by its check", `{names: [nobody]}`, `options of greet: options.yaml:1:10: names[0]: nobody can't be greeted (did you mean "somebody"?)`},
		{"by itself", `{word: fail}`, "building greet: out of breath"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := setting.Parse(plugintest.Source, []byte(c.options), &setting.Report{})
			_, err := greet.Build(n, plugintest.Deps(t))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestOfWithoutCheck(t *testing.T) {
	t.Parallel()
	p := plugin.Of("p", nil, buildGreeting)
	if problems := plugintest.Problems(t, p, `{names: [nobody]}`); problems != nil {
		t.Error(problems)
	}
	if _, err := p.Build(nil, plugintest.Deps(t)); err != nil {
		t.Errorf("without options the defaults apply, got %v", err)
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	properties, ok := greet.Schema()["properties"].(map[string]any)
	if !ok {
		t.Fatalf("schema %v has no properties", greet.Schema())
	}
	for _, key := range []string{"word", "times", "names"} {
		if properties[key] == nil {
			t.Errorf("the schema does not describe %s", key)
		}
	}
}
