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
		"directory: state\nshutdown: {delay: 0s}\ninclude: [conf.d/*.yaml]\n"
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

	for _, step := range []struct {
		name   string
		change func()
		result string
	}{
		{"written in place", func() { writeFile(t, at("gateway.yaml"), text+route("b")) }, admin.Applied},
		{"renamed into place", func() { r.write("gateway.yaml", text+route("c")) }, admin.Applied},
		{"a file more", func() { writeFile(t, at("conf.d/d.yaml"), route("d")) }, admin.Applied},
		{"that file broken", func() { writeFile(t, at("conf.d/d.yaml"), "a: [") }, admin.Refused},
		{"that file mended", func() { writeFile(t, at("conf.d/d.yaml"), route("e")) }, admin.Applied},
		{"that file gone", func() { must(os.Remove(at("conf.d/d.yaml"))) }, admin.Applied},
		{"the volume swapped", func() {
			must(os.Symlink("..2", at("volume/..new")))
			must(os.Rename(at("volume/..new"), at("volume/..data")))
		}, admin.Applied},
		{"the secret gone", func() { must(os.Rename(at("volume/..data"), at("volume/..gone"))) }, admin.Refused},
		{"the secret back", func() { must(os.Rename(at("volume/..gone"), at("volume/..data"))) }, admin.Applied},
		{"the file gone", func() { must(os.Rename(at("gateway.yaml"), at("elsewhere"))) }, admin.Refused},
		{"the file back", func() { must(os.Rename(at("elsewhere"), at("gateway.yaml"))) }, admin.Applied},
	} {
		before := r.reloads()
		step.change()
		r.eventually(step.name, func() bool { return r.reloads() > before })
		if last := r.InForce().LastReload; last.Result != step.result || last.Trigger != triggerWatch {
			t.Errorf("%s: %+v", step.name, last)
		}
	}
	if head, _ := exchange(t, p.admin.Addr().String(), "GET /admin/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer "+strings.Repeat("2", 32)+"\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		t.Errorf("the new secret: %q", head)
	}
}

// reloads is how many were tried.
func (r *running) reloads() int {
	return strings.Count(r.log.String(), `"trigger":`)
}

// TestWatchWaitsUntilFilesAreStill keeps writing, and then stops: what stands
// there in between does not go live.
func TestWatchWaitsUntilFilesAreStill(t *testing.T) {
	t.Parallel()
	const every = 200 * time.Millisecond
	r := boot(t, body("0"), serveOptions{watch: true, every: every})
	for i := 1; i <= 100; i++ { // for five looks, and never still from one to the next
		r.write("gateway.yaml", body(fmt.Sprint(i)))
		time.Sleep(every / 20)
	}
	if n := r.reloads(); n > 1 { // a stalled machine may have stood still once
		t.Errorf("%d reloads while the file changed", n)
	}
	r.eventually("the last text", func() bool { return r.get("/s") == "100" })
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
