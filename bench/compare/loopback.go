package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// loopbackBytes is the size of the message of a round trip.
const loopbackBytes = 128

// loopback is the raw cost of talking over TCP on this machine: two threads with
// blocking sockets that pass one message to and fro. A proxied request needs at
// least two such round trips, of which the proxy does one half each.
type loopback struct {
	perSecond float64       // round trips
	cpu       time.Duration // of one: two writes, two reads and two wake-ups
}

// measureLoopback takes d.
func measureLoopback(d time.Duration) (loopback, error) {
	near, far, err := loopbackPair()
	if err != nil {
		return loopback{}, fmt.Errorf("measure the loopback: %w", err)
	}
	echoed := make(chan time.Duration, 1)
	go func() { // ends when near is closed below
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		start := threadTime()
		var buf [loopbackBytes]byte
		for {
			n, err := unix.Read(far, buf[:])
			if n <= 0 || err != nil {
				break
			}
			if _, err := unix.Write(far, buf[:n]); err != nil {
				break
			}
		}
		echoed <- threadTime() - start
	}()
	trips, took, used, err := roundTrips(near, d)
	_ = unix.Close(near)
	used += <-echoed
	_ = unix.Close(far)
	if err != nil || trips == 0 {
		return loopback{}, fmt.Errorf("measure the loopback: %w", errors.Join(err, errNoTrips(trips)))
	}
	return loopback{perSecond: float64(trips) / took.Seconds(), cpu: used / time.Duration(trips)}, nil
}

func errNoTrips(trips int64) error {
	if trips > 0 {
		return nil
	}
	return errors.New("not one round trip")
}

// roundTrips sends and receives for d.
func roundTrips(fd int, d time.Duration) (trips int64, took, used time.Duration, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var buf [loopbackBytes]byte
	start, cpu := time.Now(), threadTime()
	for took < d {
		if _, err := unix.Write(fd, buf[:]); err != nil {
			return trips, took, 0, err
		}
		for got := 0; got < len(buf); {
			n, err := unix.Read(fd, buf[got:])
			if err != nil || n == 0 {
				return trips, took, 0, errors.Join(err, errors.New("the echo ended"))
			}
			got += n
		}
		trips++
		took = time.Since(start)
	}
	return trips, took, threadTime() - cpu, nil
}

// threadTime is the CPU time of the calling thread; 0 if the kernel has no such
// clock, which Linux always has.
func threadTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// loopbackPair connects two blocking sockets over 127.0.0.1.
func loopbackPair() (near, far int, err error) {
	ln, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = unix.Close(ln) }()
	if err := unix.Bind(ln, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, 0, err
	}
	if err := unix.Listen(ln, 1); err != nil {
		return 0, 0, err
	}
	address, err := unix.Getsockname(ln)
	if err != nil {
		return 0, 0, err
	}
	near, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	if err := unix.Connect(near, address); err != nil {
		return 0, 0, errors.Join(err, unix.Close(near))
	}
	far, _, err = unix.Accept4(ln, unix.SOCK_CLOEXEC)
	if err != nil {
		return 0, 0, errors.Join(err, unix.Close(near))
	}
	return near, far, errors.Join(
		unix.SetsockoptInt(near, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptInt(far, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
}
