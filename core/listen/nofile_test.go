package listen

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fewDescriptors names the variable that makes this test binary the process that
// runs out of descriptors: the limit is of a whole process, and must not be of
// the one that runs the other tests.
const fewDescriptors = "LISTEN_TEST_FEW_DESCRIPTORS"

// TestC13_DescriptorsRunOut: EMFILE ends neither the listener nor those who are
// in, and as soon as there are descriptors again, those who waited are served.
func TestC13_DescriptorsRunOut(t *testing.T) {
	if os.Getenv(fewDescriptors) != "" {
		serveWithFewDescriptors(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestC13_DescriptorsRunOut$", "-test.v")
	cmd.Env = append(os.Environ(), fewDescriptors+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close() // that is how the other process knows to end
		if err := cmd.Wait(); err != nil {
			t.Errorf("the other process: %v", err)
		}
	}()
	lines := bufio.NewScanner(out)
	next := func(prefix string) string {
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return v
			}
		}
		t.Fatalf("no line %q from the other process", prefix)
		return ""
	}
	address := next("address ")
	first := dialAddr(t, address)
	var crowd []*client
	for range 60 {
		crowd = append(crowd, dialAddr(t, address)) // the queue takes those that are not accepted
	}
	if got := next("error "); !strings.Contains(got, syscall.EMFILE.Error()) {
		t.Errorf("the error is %q", got)
	}
	first.send(get("/in"))
	if got := first.code(); got != "200" {
		t.Errorf("one that is in got %q", got)
	}
	last := crowd[len(crowd)-1]
	for _, c := range crowd[:len(crowd)-1] {
		_ = c.Close()
	}
	last.send(get("/waited"))
	if got := last.code(); got != "200" {
		t.Errorf("one that waited got %q", got)
	}
}

func serveWithFewDescriptors(t *testing.T) {
	reported := false
	s := serve(t, Options{OnAcceptError: func(err error, _ time.Duration) {
		if !reported {
			reported = true
			fmt.Printf("\nerror %v\n", err)
		}
	}}, echo)
	// The next free descriptor says how many are in use; some more are allowed.
	probe, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := probe.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var used uint64
	if err := raw.Control(func(fd uintptr) { used = uint64(fd) }); err != nil {
		t.Fatal(err)
	}
	_ = probe.Close()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: used + 20, Max: used + 20}); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\naddress %s\n", s.Addr())
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // ends with the pipe
}
