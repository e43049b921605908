package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what the processes have used so far, user and system, all threads,
// those that have ended included. It reads the kernel's CPU clock of each process
// (clock_getcpuclockid(3)), which counts nanoseconds; the ticks of
// /proc/PID/stat are 10 ms, a hundredth of a round.
func cpuTime(pids []int) (time.Duration, error) {
	var total time.Duration
	for _, pid := range pids {
		var ts unix.Timespec
		const scheduled = 2 // CPUCLOCK_SCHED of linux/posix-timers.h
		if err := unix.ClockGettime(int32(^pid<<3|scheduled), &ts); err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		total += time.Duration(ts.Nano())
	}
	return total, nil
}

// machineTime is what all processes and the kernel of the machine have used so
// far, in the kernel's ticks of 10 ms, the time that a hypervisor gave to other
// machines included.
func machineTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("CPU time of the machine: %w", err)
	}
	busy, err := busyTicks(text)
	return time.Duration(busy) * 10 * time.Millisecond, err
}

// busyTicks adds up the first line of /proc/stat without idle and iowait: user
// nice system idle iowait irq softirq steal. Guests are in user already.
func busyTicks(stat []byte) (int64, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	words := bytes.Fields(line)
	if len(words) < 9 || string(words[0]) != "cpu" {
		return 0, fmt.Errorf("CPU time of the machine: no times in %q", line)
	}
	var busy int64
	for i, word := range words[1:9] {
		n, err := strconv.ParseInt(string(word), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time of the machine: %w", err)
		}
		if i != 3 && i != 4 {
			busy += n
		}
	}
	return busy, nil
}

// memory is the resident memory of the processes in bytes. Pages they share are
// counted for each.
func memory(pids []int) (int64, error) {
	var total int64
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, fmt.Errorf("memory: %w", err)
		}
		resident, err := statusBytes(text, "VmRSS:")
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		total += resident
	}
	return total, nil
}

// statusBytes finds "name   1234 kB" in /proc/PID/status.
func statusBytes(text []byte, name string) (int64, error) {
	for line := range bytes.Lines(text) {
		words := bytes.Fields(line)
		if len(words) == 3 && string(words[0]) == name && string(words[2]) == "kB" {
			n, err := strconv.ParseInt(string(words[1]), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s", name)
}

// family is a process and its children; no proxy here has grandchildren.
func family(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	pids := []int{pid}
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it ended meanwhile
		}
		if child, parent, ok := parentOf(text); ok && parent == pid {
			pids = append(pids, child)
		}
	}
	return pids, nil
}

// parentOf reads the first fields of /proc/PID/stat: pid (name) state ppid. The
// name may hold anything, parentheses and spaces too, so its end is the last ")".
func parentOf(stat []byte) (pid, parent int, ok bool) {
	head, _, found := bytes.Cut(stat, []byte(" ("))
	end := bytes.LastIndexByte(stat, ')')
	if !found || end < 0 {
		return 0, 0, false
	}
	rest := bytes.Fields(stat[end+1:])
	pid, err := strconv.Atoi(string(head))
	if err != nil || len(rest) < 2 {
		return 0, 0, false
	}
	parent, err = strconv.Atoi(string(rest[1]))
	return pid, parent, err == nil
}

// threads is how many threads a process has.
func threads(pid int) (int, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, fmt.Errorf("threads: %w", err)
	}
	return len(tasks), nil
}

// environment is the value of a variable in a process, as it was started.
func environment(pid int, name string) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return "", fmt.Errorf("environment: %w", err)
	}
	for pair := range bytes.SplitSeq(text, []byte{0}) {
		if value, ok := bytes.CutPrefix(pair, []byte(name+"=")); ok {
			return string(value), nil
		}
	}
	return "", nil
}
