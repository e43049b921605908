package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// instance is one running gateway.
type instance struct {
	cmd   *exec.Cmd
	admin string // its admin listener
	log   string // the file with its log
}

// delay and drain of the gateways: a socket that is shared needs no delay for balancers,
// but this one has clients that are to be told.
const (
	drainDelay = 300 * time.Millisecond
	drainTime  = 20 * time.Second
)

// configure writes the configuration with further routes beside the one under load.
// It is replaced in one step, as operators do.
func (st *stand) configure(routes int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "admin: {address: \"${ADMIN}\"}\ndirectory: %q\nshutdown: {delay: %s, drain: %s}\n", filepath.Join(st.dir, "state"), drainDelay, drainTime)
	fmt.Fprintf(&b, "services: {origin: {endpoints: [{url: \"http://%s\"}]}, echo: {endpoints: [{url: \"http://%s\"}]}}\ndefaults: {plugins: {auth: off}}\nroutes:\n"+
		"  small: {match: {path: /small}, service: origin}\n  ws: {match: {path: /ws}, service: echo, plugins: {websocket: {}}}\n", st.origin, st.echo)
	for i := range routes {
		fmt.Fprintf(&b, "  r%d: {match: {path: \"/r%d/{id}/{rest...}\"}, service: origin}\n", i, i)
	}
	next := filepath.Join(st.dir, "gateway.yaml.next")
	if err := os.WriteFile(next, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if err := os.Rename(next, st.config()); err != nil {
		return fmt.Errorf("replace the configuration: %w", err)
	}
	return nil
}

func (st *stand) config() string { return filepath.Join(st.dir, "gateway.yaml") }

// launch starts a gateway on the shared socket and waits until it is ready.
func (st *stand) launch(ctx context.Context, name string) (*instance, error) {
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	g := &instance{admin: admin, log: filepath.Join(st.dir, name+".log")}
	log, err := os.Create(g.log)
	if err != nil {
		return nil, fmt.Errorf("start gateway %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	// The shell keeps its number for what it executes, as LISTEN_PID must say.
	g.cmd = exec.CommandContext(ctx, "sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, st.gateway, "serve", "-c", st.config())
	g.cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=public", "ADMIN="+admin)
	g.cmd.ExtraFiles = []*os.File{st.socket}
	g.cmd.Stdout, g.cmd.Stderr = log, log
	if err := st.start(g.cmd); err != nil {
		return nil, fmt.Errorf("start gateway %s: %w", name, err)
	}
	return g, until(ctx, "gateway "+name+" is ready", pollWait, func() error {
		_, err := g.get(ctx, "/readyz")
		return err
	})
}

// freeAddress finds a loopback address that nobody listens on at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// get asks the admin listener.
func (g *instance) get(ctx context.Context, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.admin+path, nil)
	if err != nil {
		return "", fmt.Errorf("ask for %s: %w", path, err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", fmt.Errorf("ask for %s: %w", path, err)
	}
	text, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("ask for %s: %s: %.200s", path, resp.Status, text)
	}
	return string(text), err
}

// reload makes the gateway read its configuration, and waits until it is in force.
func (g *instance) reload(ctx context.Context, number int) error {
	if err := g.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("ask for reload %d: %w", number, err)
	}
	want := fmt.Sprintf("gateway_config_reloads_total{outcome=\"applied\"} %d\n", number)
	return until(ctx, fmt.Sprintf("reload %d", number), lookWait, func() error {
		text, err := g.get(ctx, "/metrics")
		if err == nil && !strings.Contains(text, want) {
			err = fmt.Errorf("/metrics does not say %q", want)
		}
		return err
	})
}

// stop sends SIGTERM and waits for the end; the error tells an exit code that
// is not 0.
func (g *instance) stop() error {
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("send SIGTERM: %w", err)
	}
	if err := g.cmd.Wait(); err != nil {
		text, _ := os.ReadFile(g.log) // what there is
		return fmt.Errorf("the gateway did not stop cleanly: %w: %s", err, text[max(0, len(text)-2048):])
	}
	return nil
}
