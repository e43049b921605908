package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/admin"
)

// TestS1_WatchSeesEveryWayToChangeAFile changes files as editors, volumes and
// people do. Each step is seen without being told of.
func TestS1_WatchSeesEveryWayToChangeAFile(t *testing.T) {
	t.Parallel()
	const text = "listen: {public: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\", tokens: {a: {role: write, token_file: volume/token}}}\n" +
		"directory: state\nshutdown: {delay: 0s}\ndefaults: {plugins: {auth: off}}\ninclude: [conf.d/*.yaml]\n"
	route := func(name string) string {
		return fmt.Sprintf("routes: {%s: {match: {path: /%s}, respond: {body: %s}}}\n", name, name, name)
	}
	folder := t.TempDir()
	at := func(name string) string { return folder + "/" + name }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// A Kubernetes volume: token → ..data/token, ..data → ..1; an update swaps ..data.
	for _, d := range []string{"conf.d", "volume", "volume/..1", "volume/..2"} {
		must(os.Mkdir(at(d), 0o700))
	}
	must(os.Symlink("..1", at("volume/..data")))
	must(os.Symlink("..data/token", at("volume/token")))
	writeFile(t, at("volume/..1/token"), strings.Repeat("1", 32))
	writeFile(t, at("volume/..2/token"), strings.Repeat("2", 32))
	writeFile(t, at("gateway.yaml"), text+route("a"))

	log := &output{}
	p, err := start(&source{files: []string{at("gateway.yaml")}}, serveOptions{watch: true, every: 10 * time.Millisecond}, log)
	must(err)
	t.Cleanup(func() { must(p.stop(nil)) })
	r := &running{program: p, t: t, folder: folder, log: log}

	serves := func(name string) func() bool { return func() bool { return r.get("/"+name) == name } }
	opens := func(digit string) func() bool {
		return func() bool {
			head, _ := exchange(t, p.admin.Addr().String(), "GET /admin/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer "+strings.Repeat(digit, 32)+"\r\n\r\n")
			return strings.HasPrefix(head, "HTTP/1.1 200 ")
		}
	}
	// A busy machine may have a file looked at half-way: what counts is the end.
	for _, step := range []struct {
		name   string
		change func()
		result string
		effect func() bool
	}{
		{"written in place", func() { writeFile(t, at("gateway.yaml"), text+route("b")) }, admin.Applied, serves("b")},
		{"renamed into place", func() { r.write("gateway.yaml", text+route("c")) }, admin.Applied, serves("c")},
		{"a file more", func() { writeFile(t, at("conf.d/d.yaml"), route("d")) }, admin.Applied, serves("d")},
		{"that file broken", func() { writeFile(t, at("conf.d/d.yaml"), "a: [") }, admin.Refused, serves("d")},
		{"that file mended", func() { writeFile(t, at("conf.d/d.yaml"), route("e")) }, admin.Applied, serves("e")},
		{"that file gone", func() { must(os.Remove(at("conf.d/d.yaml"))) }, admin.Applied, func() bool { return !serves("e")() }},
		{"the volume swapped", func() {
			must(os.Symlink("..2", at("volume/..new")))
			must(os.Rename(at("volume/..new"), at("volume/..data")))
		}, admin.Applied, opens("2")},
		{"the secret gone", func() { must(os.Rename(at("volume/..data"), at("volume/..gone"))) }, admin.Refused, opens("2")},
		{"the secret back", func() { must(os.Rename(at("volume/..gone"), at("volume/..data"))) }, admin.Applied, opens("2")},
		{"the file gone", func() { must(os.Rename(at("gateway.yaml"), at("elsewhere"))) }, admin.Refused, serves("c")},
		{"the file back", func() { must(os.Rename(at("elsewhere"), at("gateway.yaml"))) }, admin.Applied, serves("c")},
	} {
		step.change()
		r.eventually(step.name, func() bool {
			last := r.InForce().LastReload
			return last != nil && last.Trigger == triggerWatch && last.Result == step.result && step.effect()
		})
	}
}

// reloads is how many were tried.
func (r *running) reloads() int {
	return strings.Count(r.log.String(), `"trigger":`)
}

// TestWatchWaitsUntilFilesAreStill looks at files that are a (as in force), then
// something else at each look, then still.
func TestWatchWaitsUntilFilesAreStill(t *testing.T) {
	t.Parallel()
	for looks, want := range map[string]string{
		"aaaa":     "----",
		"abcde":    "-----",
		"abcdd":    "----r",
		"abacbb":   "-----r",
		"abaa":     "----",
		"abb":      "--r",
		"bb":       "-r",
		"abbbaabb": "--rr---r", // it asks until a load has seen it
	} {
		var s stillness
		got := ""
		for _, present := range looks {
			got += map[bool]string{true: "r", false: "-"}[s.settled(string(present), present != 'a')]
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", looks, got, want)
		}
	}
}

// TestWatchIsOffByDefault changes the file under a program that does not watch,
// beside one that does.
func TestWatchIsOffByDefault(t *testing.T) {
	t.Parallel()
	still := boot(t, body("old"), serveOptions{every: 10 * time.Millisecond})
	watching := boot(t, body("old"), serveOptions{watch: true, every: 10 * time.Millisecond})
	for _, r := range []*running{still, watching} {
		r.write("gateway.yaml", body("new"))
	}
	watching.eventually("the new text", func() bool { return watching.get("/s") == "new" })
	if got := still.get("/s"); got != "old" || still.reloads() != 0 {
		t.Errorf("got %q after %d reloads", got, still.reloads())
	}
}
