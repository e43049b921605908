package endtoend

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
)

// TestSessions runs the command lines of testdata/*.txt in that folder and compares
// all they print: what went to standard error begins with "! ", an exit code that
// is not 0 stands last.
func TestSessions(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(names) < 3 {
		t.Fatalf("found %v, %v", names, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range strings.Split("\n"+string(text), "\n$ gateway ")[1:] {
			line, want, _ := strings.Cut(strings.TrimSuffix(step, "\n")+"\n", "\n")
			t.Run(filepath.Base(name)+" "+line, func(t *testing.T) {
				t.Parallel()
				if got := transcript(do(t, "testdata", words(line)...)); got != want {
					t.Errorf("differs (- want, + got):\n%s", cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
				}
			})
		}
	}
}

// words cuts a command line as a shell does that knows single quotes alone.
func words(line string) (all []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, strings.Fields(part)...)
	}
	return all
}

// transcript is what r looks like in a session.
func transcript(r result) string {
	text := r.out
	for line := range strings.Lines(r.err) {
		text += "! " + line
	}
	if r.code != exitOK {
		text += fmt.Sprintf("exit code %d\n", r.code)
	}
	return text
}

func TestConfigShow(t *testing.T) {
	t.Parallel()
	dir := files(t, "base.yaml", "listen: {public: {address: \":8080\"}}\nroutes:\n  a: {match: {path: /a}, respond: {status: 200, body: \"${GREETING}\"}, plugins: {auth: off}}\n",
		"over.yaml", "limits: {body: 1MiB}\n")
	show := func(args ...string) result {
		c := command(dir, append([]string{"config", "show", "-c", "base.yaml", "-c", "over.yaml"}, args...)...)
		c.Env = append(os.Environ(), "GREETING=s3cret greeting")
		return finished(t, c)
	}
	plain, origin := show(), show("--origin")
	for _, r := range []result{plain, origin} {
		if r.code != exitOK || r.err != "" {
			t.Errorf("got %+v", r)
		}
		if strings.Contains(r.out, "s3cret") || !strings.Contains(r.out, `body: "***"`) {
			t.Errorf("C11: a value of the environment is not masked:\n%s", r.out)
		}
	}
	for _, want := range []string{"body: 1MiB  # over.yaml:1\n", "    address: \":8080\"  # base.yaml:1\n", "  drain: 30s  # default\n", `body: "***"  # base.yaml:3` + "\n"} {
		if !strings.Contains(origin.out, want) {
			t.Errorf("want %q in\n%s", want, origin.out)
		}
	}
	if got := regexp.MustCompile(`(?m)  # .*$`).ReplaceAllString(origin.out, ""); got != plain.out {
		t.Errorf("with --origin differs by more than the origins:\n%s\n%s", got, plain.out)
	}
}

// The schema accepts the configurations that the repository ships, and refuses
// what check refuses.
func TestConfigSchema(t *testing.T) {
	t.Parallel()
	r := do(t, ".", "config", "schema")
	if r.code != exitOK || r.err != "" {
		t.Fatalf("got %+v", r)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(r.out))
	if err != nil {
		t.Fatalf("not JSON: %v", err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("gateway.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("gateway.json")
	if err != nil {
		t.Fatalf("no JSON Schema: %v", err)
	}
	for _, name := range shipped(t) {
		if err := schema.Validate(asJSON(t, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := schema.Validate(asJSON(t, "testdata/bad.yaml")); err == nil {
		t.Error("a bad configuration is accepted")
	}
}

func TestInit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	printed := do(t, dir, "init")
	starter, err := os.ReadFile("../starter.yaml")
	if err != nil {
		t.Fatal(err)
	}
	printed.wants(t, exitOK, string(starter), "")
	do(t, dir, "init", "-o", "new.yaml").wants(t, exitOK, "", "")
	do(t, dir, "check", "-c", "new.yaml").wants(t, exitOK, "ok: 1 service, 1 route\n", "")
	do(t, dir, "init", "-o", "new.yaml").wants(t, exitFailed, "",
		"gateway: init writes new files only: open new.yaml: file exists\nChoose another name, or take the file away first.\n")
	do(t, dir, "init", "-o", "no/new.yaml").wants(t, exitFailed, "",
		"gateway: init writes new files only: open no/new.yaml: no such file or directory\n")
	written, err := os.ReadFile(filepath.Join(dir, "new.yaml"))
	if err != nil || string(written) != printed.out {
		t.Errorf("the file holds %q, %v", written, err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	platform := runtime.GOOS + "/" + runtime.GOARCH
	do(t, ".", "version").wants(t, exitOK, "gateway v1.2.3-test ("+runtime.Version()+", "+platform+", fasthttp v1.77.0)\n", "")
	do(t, ".", "version", "--json").wants(t, exitOK, `{"version":"v1.2.3-test","go":"`+runtime.Version()+`","platform":"`+platform+`","fasthttp":"v1.77.0"}`+"\n", "")
}

// Every command explains itself by an example, and completes itself in the shells.
func TestHelp(t *testing.T) {
	t.Parallel()
	heading := regexp.MustCompile(`(?m)^Examples:\n  \S`)
	section := regexp.MustCompile(`(?s)Available Commands:\n(.*?)\n\n`)
	seen := 0
	var visit func(path ...string)
	visit = func(path ...string) {
		seen++
		r := do(t, ".", append(path, "--help")...)
		if r.code != exitOK || r.err != "" || !heading.MatchString(r.out) {
			t.Errorf("%v --help: exit code %d, %q on stderr, without an example:\n%s", path, r.code, r.err, r.out)
		}
		if other := do(t, ".", append([]string{"help"}, path...)...); other != r {
			t.Errorf("help %v differs from --help:\n%s", path, other.out)
		}
		if listed := section.FindStringSubmatch(r.out); listed != nil {
			for line := range strings.Lines(listed[1]) {
				visit(append(append([]string{}, path...), strings.Fields(line)[0])...)
			}
		}
	}
	visit()
	if seen < 16 {
		t.Errorf("%d commands were found; the search is broken", seen)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := do(t, ".", "completion", shell); r.code != exitOK || r.err != "" || !strings.Contains(r.out, "gateway") {
			t.Errorf("%s: exit code %d, %q, %d bytes", shell, r.code, r.err, len(r.out))
		}
	}
	script := filepath.Join(files(t, "gateway.bash", do(t, ".", "completion", "bash").out), "gateway.bash")
	if out, err := exec.Command("bash", "-n", script).CombinedOutput(); err != nil {
		t.Errorf("bash does not read it: %v\n%s", err, out)
	}
	if r := do(t, ".", "__complete", "ex"); !strings.HasPrefix(r.out, "explain\t") {
		t.Errorf("ex completes to %q", r.out)
	}
}

// The codes are what the help says; an answer that can't be written is no success.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	help := strings.Join(strings.Fields(do(t, ".", "--help").out), " ")
	const codes = "Exit codes: 0 done, 1 the configuration, or what was asked for, is refused, 2 the command line is wrong, " +
		"3 serve had to cut requests off when it stopped, 4 it could not be done: an address is in use, a file exists, no gateway answers."
	if !strings.Contains(help, codes) {
		t.Errorf("the help says %s", help)
	}
	for _, line := range []string{
		"check", "check --json", "routes", "routes --json", "explain GET /a", "explain GET /a --json", "config show", "config schema", "init", "version", "version --json",
	} {
		if code := intoFullDisk(t, append(strings.Fields(line), from(line)...)...); code != exitFailed {
			t.Errorf("%s onto a full disk: exit code %d", line, code)
		}
	}
	r := do(t, "testdata", "explain", "-c", "good.yaml", "GET", "/shop/1", "-H", "X-A: b\r\nX-C: d")
	r.wants(t, exitUsage, "", "gateway: a line break can't be part of a method, URL or field\n`gateway explain --help` shows how it is used.\n")
}

// from names the configuration for a command line that reads one.
func from(line string) []string {
	if strings.HasPrefix(line, "init") || strings.HasPrefix(line, "version") || strings.HasSuffix(line, "schema") {
		return nil
	}
	return []string{"-c", "good.yaml"}
}

// intoFullDisk runs one command line whose output can't be written.
func intoFullDisk(t *testing.T, args ...string) int {
	t.Helper()
	out, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := command("testdata", args...)
	c.Stdout = out
	_ = c.Run() // the exit code says it
	return c.ProcessState.ExitCode()
}

// shipped are the configurations that the repository holds for people.
func shipped(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(root + "/configs/examples/*.yaml")
	if err != nil || len(names) < 2 {
		t.Fatalf("found %v, %v", names, err)
	}
	return append(names, root+"/configs/gateway.yaml", "../starter.yaml")
}

func TestShippedConfigurations(t *testing.T) {
	t.Parallel()
	for _, name := range shipped(t) {
		if strings.HasPrefix(filepath.Base(name), "tls") {
			name = withCertificates(t, name)
		}
		if r := do(t, ".", "check", "-c", name); r.code != exitOK || r.err != "" || !strings.HasPrefix(r.out, "ok: ") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// withCertificates copies a configuration, and makes the certificates that it names.
func withCertificates(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := certificates(t, t.TempDir())
	return filepath.Join(files(t, "tls.yaml", strings.ReplaceAll(string(text), "/etc/gateway/tls", dir)), "tls.yaml")
}

// certificates makes those that examples name, in dir.
func certificates(t *testing.T, dir string) string {
	t.Helper()
	ca := certificatetest.NewAuthority(t)
	ca.Issue(t, "api.example.com").Write(t, dir, "api")
	ca.Issue(t, "*.partners.example.com").Write(t, dir, "partners")
	ca.Issue(t, "gateway.internal").Write(t, dir, "gateway")
	for _, name := range []string{"partners-ca.pem", "internal-ca.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(ca.PEM), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// asJSON reads a YAML file as the schema's validator wants it.
func asJSON(t *testing.T, name string) any {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return value
}
