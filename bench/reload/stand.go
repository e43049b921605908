package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	patience = 30 * time.Second      // for what a process is asked to do
	pollWait = 20 * time.Millisecond // between two looks at what is awaited
	// lookWait is between two looks at /metrics, which cost the gateway 2 to 5 ms of CPU.
	lookWait = 100 * time.Millisecond
)

// stand is what the trial runs on: a folder with the programs, the origin, and
// the listening socket that the gateways share. close ends it.
type stand struct {
	options
	dir     string
	origin  string // its address
	echo    string // that of the service that echoes WebSockets
	socket  *os.File
	address string // of the socket
	running []*exec.Cmd
	out     io.Writer
}

// newStand builds the programs and starts the origin. On an error nothing is left.
func newStand(ctx context.Context, o options, out io.Writer) (*stand, error) {
	dir, err := os.MkdirTemp("", "gateway-reload-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	st := &stand{options: o, dir: dir, out: out}
	if err := errors.Join(st.build(ctx), st.listen()); err != nil {
		return nil, errors.Join(err, st.close())
	}
	if err := errors.Join(st.startOrigin(ctx), st.startEcho(ctx)); err != nil {
		return nil, errors.Join(err, st.close())
	}
	return st, nil
}

// build compiles what the trial runs, but a gateway that was named. A profile would
// have every package compiled anew.
func (st *stand) build(ctx context.Context) error {
	const module = "github.com/suuupra/gateway/"
	packages := []string{module + "bench/load", module + "bench/origin", module + "cmd/upstream"}
	if st.gateway == "" {
		st.gateway = filepath.Join(st.dir, "gateway")
		packages = append(packages, module+"cmd/gateway")
	}
	text, err := exec.CommandContext(ctx, "go", append([]string{"build", "-buildvcs=false", "-pgo=off", "-o", st.dir + "/"}, packages...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build: %w: %s", err, text)
	}
	return nil
}

// listen opens the socket that outlives every gateway, of the kind that systemd makes.
func (st *stand) listen() error {
	var plain net.ListenConfig
	plain.SetMultipathTCP(false)
	l, err := plain.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	st.address = l.Addr().String()
	st.socket, err = l.(*net.TCPListener).File()
	return errors.Join(err, l.Close())
}

func (st *stand) startOrigin(ctx context.Context) error {
	c := exec.CommandContext(ctx, filepath.Join(st.dir, "origin"))
	stdout, err := c.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start the origin: %w", err)
	}
	if err := st.start(c); err != nil {
		return fmt.Errorf("start the origin: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the origin's address: %w", err)
	}
	st.origin = strings.TrimPrefix(strings.TrimSpace(line), "http://")
	return nil
}

// startEcho starts one of the demo services, which echoes WebSockets at /ws.
func (st *stand) startEcho(ctx context.Context) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	st.echo = address
	if err := st.start(exec.CommandContext(ctx, filepath.Join(st.dir, "upstream"), "-listen", "live-classes="+address)); err != nil {
		return fmt.Errorf("start the echo: %w", err)
	}
	return until(ctx, "the echo listens", pollWait, func() error {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// start starts c, which close ends if nobody has before.
func (st *stand) start(c *exec.Cmd) error {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return err
	}
	st.running = append(st.running, c)
	return nil
}

// close ends all that runs and removes the folder.
func (st *stand) close() error {
	for _, c := range st.running {
		if c.ProcessState == nil {
			_ = c.Process.Kill() // Wait tells
			_ = c.Wait()         // it was killed
		}
	}
	var err error
	if st.socket != nil {
		err = st.socket.Close()
	}
	return errors.Join(err, os.RemoveAll(st.dir))
}

// until asks ok again and again, every so often, until it returns nil or time is up; the
// last error tells why.
func until(ctx context.Context, what string, every time.Duration, ok func() error) error {
	for end := time.Now().Add(patience); ; {
		err := ok()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %v: %w", what, patience, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}
