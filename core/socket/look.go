package socket

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// PeekInto copies what stands on a socket into p, which is not empty, without
// taking it. EAGAIN says that nothing does; 0 without an error that the other
// side has closed.
func PeekInto(fd uintptr, p []byte) (int, syscall.Errno) {
	return call(syscall.SYS_RECVFROM, fd, p, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
}

// Finished says that the other side has sent all that it ever will, read or not.
// Unlike the other functions it tells the scheduler: it is for rare looks.
func Finished(fd uintptr) bool {
	asked := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	for {
		_, err := unix.Poll(asked, 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && asked[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	}
}
