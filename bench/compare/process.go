package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// startPatience is how long a process may take to listen.
	startPatience = 15 * time.Second
	// stopPatience is how long one may take to end after SIGTERM; then it is killed.
	stopPatience = 10 * time.Second
	// pollEvery is the pause between two looks at something that is awaited.
	pollEvery = 20 * time.Millisecond
)

// process is a child that this command started, and will end.
type process struct {
	name   string
	cmd    *exec.Cmd
	output string        // the file with its output
	ended  chan struct{} // closed when it has ended
}

// startProcess runs a command in dir, its output in dir/NAME.log. The extra
// environment is added to our own.
func startProcess(dir, name string, env []string, argv ...string) (*process, error) {
	p := &process{name: name, output: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.output)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	p.cmd.Env = append(os.Environ(), env...)
	// Ctrl-C on the terminal reaches us alone; we end the children in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { // stop awaits it
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// alive reports an error, with the end of the output, if the process has ended.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has ended (%v): %s", p.name, p.cmd.ProcessState, p.tail())
	default:
		return nil
	}
}

// tail is the last kilobyte of the output.
func (p *process) tail() string {
	text, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-1024):]))
}

// stop ends the process and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopPatience):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// await calls ready until it returns nil, the process ends, or startPatience is
// over; the last error tells why.
func (p *process) await(ctx context.Context, ready func() error) error {
	for end := time.Now().Add(startPatience); ; {
		err := ready()
		if err == nil {
			return nil
		}
		if gone := p.alive(); gone != nil {
			return gone
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s is not ready after %v: %w: %s", p.name, startPatience, err, p.tail())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

// freePort finds a loopback port that nobody listens on at the moment.
func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	return port, ln.Close()
}

// install gets the Debian packages of the commands that are missing; each
// package here is named like its command.
func install(ctx context.Context, commands ...string) error {
	var missing []string
	for _, command := range commands {
		if _, err := lookTool(command); err != nil {
			missing = append(missing, command)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	apt := []string{"apt-get"}
	if os.Geteuid() != 0 {
		apt = []string{"sudo", "apt-get"}
	}
	for _, args := range [][]string{{"update", "-qq"}, append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)} {
		if _, err := output(ctx, ".", append(apt, args...)...); err != nil {
			return fmt.Errorf("install %s: %w", strings.Join(missing, ", "), err)
		}
	}
	return nil
}

// lookTool finds a command, also where only root's PATH leads.
func lookTool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", name))
}

// output runs a command to its end and returns what it printed; the error has it too.
func output(ctx context.Context, dir string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Run(); err != nil {
		return text.String(), errors.Join(fmt.Errorf("%s: %w", strings.Join(argv, " "), err), errors.New(strings.TrimSpace(text.String())))
	}
	return text.String(), nil
}
