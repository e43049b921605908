//go:build !race

package fault_test

import (
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
)

func TestAllocsWrite0(t *testing.T) {
	resp := fasthttp.AcquireResponse()
	defer fasthttp.ReleaseResponse(resp)
	resp.KeepBodyBuffer = true
	id := []byte("0123456789abcdef")
	f := fault.RateLimited.Detail("é \"quoted\" \xff").After(3 * time.Second)
	write := func() { fault.Write(resp, f, id) }
	write()
	if n := testing.AllocsPerRun(200, write); n != 0 {
		t.Errorf("Write allocates %v times", n)
	}
	expired := func() { fault.Write(resp, fault.TokenExpired, id) }
	expired()
	if n := testing.AllocsPerRun(200, expired); n != 0 {
		t.Errorf("Write of a 401 allocates %v times", n)
	}
}

func TestAllocsAppendResponse0(t *testing.T) {
	buf := make([]byte, 0, 2048)
	id := []byte("0123456789abcdef")
	if n := testing.AllocsPerRun(200, func() { buf = fault.AppendResponse(buf[:0], fault.Overloaded, id) }); n != 0 {
		t.Errorf("AppendResponse allocates %v times", n)
	}
}
