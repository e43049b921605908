package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// idleCost is what one idle WebSocket costs a proxy, on average.
type idleCost struct {
	subject     string
	sockets     int
	live        float64 // bytes of heap and stacks in use after a collection; 0: it tells none
	resident    float64 // bytes of memory
	descriptors float64
	left        int64 // bytes live of all of them after they have ended
}

// String is for the progress.
func (c idleCost) String() string {
	return fmt.Sprintf("%d idle WebSockets, each %.0f bytes live, %.0f resident, %.2f descriptors; %d bytes left of all", c.sockets, c.live, c.resident, c.descriptors, c.left)
}

// footprint is what a proxy holds at one moment.
type footprint struct {
	live, resident int64
	descriptors    int
}

// idleSockets opens n WebSockets and compares what the subject holds with what it held
// before. What it keeps for good, such as pools, has come with some that were opened
// and closed before.
func (st *stand) idleSockets(ctx context.Context, s *subject, n int) (idleCost, error) {
	cost := idleCost{subject: s.name, sockets: n}
	pids, err := s.pids()
	if err != nil {
		return cost, err
	}
	fresh, err := descriptors(pids)
	if err != nil {
		return cost, err
	}
	conns, err := openSockets(ctx, s.address, max(1, n/10))
	if err != nil {
		return cost, err
	}
	closeAll(conns)
	before, err := s.afterwards(ctx, pids, fresh)
	if err != nil {
		return cost, err
	}
	if conns, err = openSockets(ctx, s.address, n); err != nil {
		return cost, err
	}
	with, err := s.footprint(ctx, pids)
	closeAll(conns)
	if err != nil {
		return cost, err
	}
	after, err := s.afterwards(ctx, pids, before.descriptors)
	if err != nil {
		return cost, err
	}
	each := func(with, before int64) float64 { return float64(with-before) / float64(n) }
	cost.live, cost.resident = each(with.live, before.live), each(with.resident, before.resident)
	cost.descriptors = each(int64(with.descriptors), int64(before.descriptors))
	cost.left = after.live - before.live
	return cost, nil
}

// fewDescriptors is how many more a proxy may have than before: connections to the origin
// that it keeps, and ours to its admin listener.
const fewDescriptors = 20

// afterwards waits until the WebSockets have ended: there are no more descriptors
// than at first, or hardly.
func (s *subject) afterwards(ctx context.Context, pids []int, first int) (footprint, error) {
	err := s.process.await(ctx, func() error {
		n, err := descriptors(pids)
		if err == nil && n > first+fewDescriptors {
			err = fmt.Errorf("%d descriptors are open, %d were at first", n, first)
		}
		return err
	})
	if err != nil {
		return footprint{}, err
	}
	return s.footprint(ctx, pids)
}

func (s *subject) footprint(ctx context.Context, pids []int) (f footprint, err error) {
	if f.descriptors, err = descriptors(pids); err != nil {
		return f, err
	}
	if s.name == ours {
		// What a pool lets go of takes two collections.
		if _, err = s.liveBytes(ctx); err != nil {
			return f, err
		}
		if f.live, err = s.liveBytes(ctx); err != nil {
			return f, err
		}
	}
	f.resident, err = memory(pids)
	return f, err
}

// descriptors is how many the processes have open.
func descriptors(pids []int) (int, error) {
	total := 0
	for _, pid := range pids {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return 0, fmt.Errorf("descriptors: %w", err)
		}
		total += len(list)
	}
	return total, nil
}

// liveBytes has the gateway collect its garbage, and asks for its heap and stacks in use.
func (s *subject) liveBytes(ctx context.Context) (int64, error) {
	token, err := os.ReadFile(filepath.Join(s.dir, "admin.token"))
	if err != nil {
		return 0, fmt.Errorf("ask for the heap: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/debug/pprof/heap?debug=1", nil)
	if err != nil {
		return 0, fmt.Errorf("ask for the heap: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := client(nil).Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask for the heap: %w", err)
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return 0, fmt.Errorf("read the heap: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("ask for the heap: %s: %.200s", resp.Status, text)
	}
	return inUse(text)
}

// inUse adds up "# HeapInuse = N" and "# Stack = N / SYSTEM" of a heap profile with
// debug=1.
func inUse(profile []byte) (int64, error) {
	var total int64
	for _, name := range []string{"HeapInuse", "Stack"} {
		_, rest, found := bytes.Cut(profile, []byte("\n# "+name+" = "))
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		number, _, _ := strings.Cut(string(line), " ")
		n, err := strconv.ParseInt(number, 10, 64)
		if !found || err != nil {
			return 0, fmt.Errorf("read the heap: no %s in it", name)
		}
		total += n
	}
	return total, nil
}
