package main

import (
	"context"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestWS1_IdleWebSocketsOfThreeProcesses is the run that bench/WEBSOCKET.md is written by,
// without nginx: what is promised of idle WebSockets is kept, and busy ones echo.
func TestWS1_IdleWebSocketsOfThreeProcesses(t *testing.T) {
	t.Parallel()
	gateway := filepath.Join(t.TempDir(), "gateway")
	// A profile would have every package compiled anew.
	if text, err := exec.Command("go", "build", "-buildvcs=false", "-pgo=off", "-o", gateway, module+"cmd/gateway").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var out, progress strings.Builder
	err := run(context.Background(), []string{"-websockets", strconv.Itoa(testSockets), "-gateway", gateway, "-only", "ours",
		"-connections", "8", "-rounds", "1", "-duration", "1s"}, &out, &progress)
	t.Logf("\n%s", &progress)
	if err != nil {
		t.Fatal(err)
	}
	kept := strings.Count(out.String(), "| kept |")
	if strings.Contains(out.String(), "**not kept**") && testSockets == enoughSockets || kept == 0 || !strings.Contains(out.String(), "\n| ours | ") {
		t.Errorf("got\n%s", &out)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	masked, plain := frames("hi")
	if string(masked) != "\x81\x82\x07\x0b\x0d\x11ob" || string(plain) != "\x81\x02hi" {
		t.Errorf("got %q and %q", masked, plain)
	}
	masked, plain = frames(strings.Repeat("x", 300))
	if string(masked[:8]) != "\x81\xfe\x01\x2c\x07\x0b\x0d\x11" || len(masked) != 308 || string(plain[:5]) != "\x81\x7e\x01\x2cx" || len(plain) != 304 {
		t.Errorf("got %q and %q", masked, plain)
	}
}

func TestInUse(t *testing.T) {
	t.Parallel()
	if n, err := inUse([]byte("heap profile: 1: 2\n# HeapAlloc = 7\n# HeapInuse = 4096\n# Stack = 300 / 900\n")); err != nil || n != 4396 {
		t.Errorf("got %d, %v", n, err)
	}
	for _, text := range []string{"", "\n# HeapInuse = 1\n", "\n# HeapInuse = x\n# Stack = 3 / 4\n", "\n# Stack = 3 / 4\n"} {
		if _, err := inUse([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

// serveOnce answers one connection with text, after what it was sent.
func serveOnce(t *testing.T, answers ...string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // the cleanup awaits it
		defer close(ended)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		for _, text := range answers {
			if _, err := c.Read(make([]byte, 4096)); err != nil {
				return
			}
			_, _ = io.WriteString(c, text)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().String()
}

// TestSocketsThatDoNotOpen: none is left open, and the error has the answer.
func TestSocketsThatDoNotOpen(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"HTTP/1.1 426 Upgrade Required\r\n\r\n": "the answer is \"HTTP/1.1 426",
		"HTTP/1.1 101 Swit":                     "EOF after \"HTTP/1.1 101 Swit\"",
	} {
		if _, err := openSockets(t.Context(), serveOnce(t, answer), 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", answer, err, want)
		}
	}
	if _, err := openSockets(t.Context(), "127.0.0.1:1", 3); err == nil {
		t.Error("nobody listens, but it opened")
	}
}

// TestEchoesThatDiffer are found, and those that end.
func TestEchoesThatDiffer(t *testing.T) {
	t.Parallel()
	_, right := frames(strings.Repeat("x", messageBytes))
	for answer, want := range map[string]string{
		strings.Repeat("y", len(right)): "the echo of message 1 is \"yyy",
		string(right[:20]):              "read the echo of message 1: unexpected EOF",
	} {
		conns, err := openSockets(t.Context(), serveOnce(t, "HTTP/1.1 101 Switching Protocols\r\n\r\n", string(right), answer), 1)
		if err != nil {
			t.Fatal(err)
		}
		n, err := echoAll(conns, time.Now().Add(startPatience))
		closeAll(conns)
		if n != 1 || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %d, %v; want %s", n, err, want)
		}
	}
}

// TestWebSocketReport says what is kept and what is not.
func TestWebSocketReport(t *testing.T) {
	t.Parallel()
	r := &webSocketResult{
		idle: []idleCost{{subject: ours, sockets: 9000, live: 9 << 10, resident: 10 << 10, descriptors: 2, left: 1 << 20}, {subject: nginx, sockets: 9000, resident: 20 << 10, descriptors: 2}},
		echo: []measured{
			{subject: ours, samples: []sample{{cpu: 10, rate: 890, others: 0.5}}},
			{subject: nginx, samples: []sample{{cpu: 20, rate: 1000}}},
			{subject: direct, samples: []sample{{cpu: 5, rate: 2000}}},
		},
	}
	text := r.markdown(&options{webSockets: 9000, rounds: 1, connections: 64, workers: 2}, []string{"a machine"})
	for _, want := range []string{
		"- a machine\n", "| ours | 9.00 | 10.00 | 2.00 | 1024 |\n", "| nginx |  | 20.00 | 2.00 |  |\n",
		"| ours | 890 | 0.89 | 10.00 | 0.50 |\n", "| nginx | 1000 | 1.00 | 20.00 | 1.00 |\n", "| direct | 2000 |  | 5.00 |  |\n",
		"| idle: live KiB | 9.00 | at most 8.00 | **not kept** |\n", "| idle: descriptors | 2.00 | at most 2.00 | kept |\n",
		"| echo: messages/s × nginx | 0.89 | at least 0.90 | **not kept** |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text := (&webSocketResult{}).kept(); text != "" {
		t.Errorf("of nothing: %q", text)
	}
}

func TestWebSocketFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-websockets", "10", "-open-loop", "5"}, {"-websockets", "10", "-scenarios", "small"}, {"-websockets", "-1"}} {
		if _, _, err := parseFlags(args, io.Discard); err == nil {
			t.Errorf("%v were accepted", args)
		}
	}
	o, _, err := parseFlags([]string{"-websockets", "9000"}, io.Discard)
	if err != nil || o.out != "bench/WEBSOCKET.md" || strings.Join(o.subjects, ",") != "ours,nginx" {
		t.Errorf("got %+v, %v", o, err)
	}
	if o, _, err = parseFlags([]string{"-websockets", "100"}, io.Discard); err != nil || o.out != "" {
		t.Errorf("a small run is kept: %+v, %v", o, err)
	}
}
