package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

const wrkOutput = `Running 2s test @ http://127.0.0.1:7001/small
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   622.86us  668.40us  24.21ms   96.34%
    Req/Sec    74.89k    11.97k  102.03k    70.00%
  Latency Distribution
     50%  520.00us
  149086 requests in 2.00s, 35.12MB read
Requests/sec:  74498.67
Transfer/sec:     17.55MB
result 149086 2001180 1 2 3 4 5 520 2300 9870 24210
`

func TestParseWrk(t *testing.T) {
	t.Parallel()
	got, err := parseWrk(wrkOutput)
	want := wrkResult{
		Requests: 149086, Duration: 2001180 * time.Microsecond, Connect: 1, Read: 2, Write: 3, Status: 4, Timeout: 5,
		P50: 520 * time.Microsecond, P99: 2300 * time.Microsecond, P999: 9870 * time.Microsecond, Max: 24210 * time.Microsecond,
	}
	if err != nil || got != want {
		t.Errorf("got %+v (%v), want %+v", got, err, want)
	}
	for name, text := range map[string]string{
		"no line":      "Running 2s test\n",
		"too few":      "result 1 2 3\n",
		"too many":     "result 1 2 3 4 5 6 7 8 9 10 11 12\n",
		"no numbers":   "result 1 2 3 4 5 6 7 8 9 10 x\n",
		"negative":     "result -1 2 3 4 5 6 7 8 9 10 11\n",
		"no time":      "result 1 0 0 0 0 0 0 8 9 10 11\n",
		"not a number": "result nan 2 3 4 5 6 7 8 9 10 11\n",
	} {
		if _, err := parseWrk(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseWrk(f *testing.F) {
	f.Add(wrkOutput)
	f.Add("result 1 1 0 0 0 0 0 1 1 1 1")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseWrk(text)
		if err == nil && (r.Requests < 0 || r.Duration == 0 || r.Status < 0) {
			t.Fatalf("%q: %+v", text, r)
		}
	})
}

// The script must ask for what the scenario says, and print as many numbers as
// are read.
func TestScript(t *testing.T) {
	t.Parallel()
	for _, sc := range scenarios() {
		text := sc.script()
		if !strings.Contains(text, `wrk.method = "`+sc.method+`"`) || strings.Contains(text, "wrk.body") != (sc.body > 0) {
			t.Errorf("%s: %s", sc.name, text)
		}
		if strings.Count(text, "%d") != 11 || strings.Count(text, resultMark) != 1 {
			t.Errorf("%s prints other numbers than are read: %s", sc.name, text)
		}
	}
}

func TestParentOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]int{
		"8532 (sh) S 8527 8493 2379 0 -1":       {8532, 8527},
		"10 (nginx: worker (x) y) R 9 10 10 0":  {10, 9},
		"1 () S 0":                              {1, 0},
		"12 (a) b) (c) S 3 4":                   {12, 3},
		"7 (with\nnewline) S 6 1":               {7, 6},
		"x (sh) S 1":                            {},
		"1 (sh) S":                              {},
		"1 (sh) S y":                            {},
		"1 sh S 1":                              {},
		"":                                      {},
		"18446744073709551616 (too large) S 1 ": {},
	} {
		pid, parent, ok := parentOf([]byte(text))
		if ok != (want != [2]int{}) || ok && [2]int{pid, parent} != want {
			t.Errorf("%q: %d, %d, %v; want %v", text, pid, parent, ok, want)
		}
	}
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if pid, parent, ok := parentOf(own); !ok || pid != os.Getpid() || parent != os.Getppid() {
		t.Errorf("of ourselves: %d, %d, %v", pid, parent, ok)
	}
}

func FuzzParentOf(f *testing.F) {
	f.Add([]byte("10 (nginx: worker (x) y) R 9 10 10 0"))
	f.Add([]byte(") ("))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, _, ok := parentOf(text); ok && !strings.Contains(string(text), " (") {
			t.Fatalf("%q: accepted", text)
		}
	})
}

func TestStatusBytes(t *testing.T) {
	t.Parallel()
	text := []byte("Name:\tnginx\nVmPeak:\t  900 kB\nVmRSS:\t    1234 kB\nThreads:\t1\n")
	if n, err := statusBytes(text, "VmRSS:"); err != nil || n != 1234<<10 {
		t.Errorf("got %d, %v", n, err)
	}
	for _, name := range []string{"VmSwap:", "Threads:", "Name:"} {
		if _, err := statusBytes(text, name); err == nil {
			t.Errorf("%s was found", name)
		}
	}
}

func TestBusyTicks(t *testing.T) {
	t.Parallel()
	if n, err := busyTicks([]byte("cpu  1 2 4 8 16 32 64 128 256 512\ncpu0 9 9 9\n")); err != nil || n != 1+2+4+32+64+128 {
		t.Errorf("got %d, %v", n, err)
	}
	for _, text := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 x 6 7 8"} {
		if _, err := busyTicks([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
