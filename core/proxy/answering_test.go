package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
)

// answeringEnv makes this binary a server, for tests that count their own CPU time.
const answeringEnv = "PROXY_TEST_ANSWERS"

// answerAll answers each head on each connection until standard input ends.
func answerAll() {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			continue
		}
		go func() {
			defer c.Close()
			var room [512]byte
			for {
				n, err := c.Read(room[:])
				if err != nil {
					return
				}
				if bytes.HasSuffix(room[:n], []byte("\r\n\r\n")) {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			}
		}()
	}
}

// otherProcess starts a server in another process and returns its port. It takes
// connections on every address of the loopback network.
func otherProcess(t testing.TB) int {
	t.Helper()
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), answeringEnv+"=1")
	stop, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop.Close(); _ = server.Wait() })
	var port int
	if _, err := fmt.Fscan(bufio.NewReader(out), &port); err != nil {
		t.Fatalf("the server did not start: %v", err)
	}
	return port
}
