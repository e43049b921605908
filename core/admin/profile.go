package admin

import (
	"bytes"
	"io"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/fault"
)

// How long a profile over time runs, in seconds.
const (
	usualProfile   = 30
	longestProfile = 60
)

// profile answers with a profile of this process, in the form that `go tool
// pprof` and `go tool trace` read. It takes a token that may write: a profile
// costs, and shows more than a view does.
func (s *Server) profile(c *call) fault.Fault {
	name := c.UserValue("profile").(string)
	c.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	switch name {
	case "profile":
		return s.record(c, pprof.StartCPUProfile, pprof.StopCPUProfile)
	case "trace":
		return s.record(c, trace.Start, trace.Stop)
	}
	p := pprof.Lookup(name)
	if p == nil {
		return fault.NotFound.Detail("there are profile, trace, " + strings.Join(profiles(), ", "))
	}
	debug, ok := number(c, "debug", 0, 2)
	if !ok {
		return fault.BadRequest.Detail("want debug from 0 to 2")
	}
	if name == "heap" {
		runtime.GC() // else it shows what is garbage by now
	}
	c.SetContentType("application/octet-stream")
	if debug > 0 {
		c.SetContentType("text/plain; charset=utf-8")
	}
	if err := p.WriteTo(c, debug); err != nil {
		s.options.Log.Error().Err(err).Str("profile", name).Msg("a profile could not be written")
		return fault.Internal
	}
	return fault.Fault{}
}

func profiles() []string {
	var names []string
	for _, p := range pprof.Profiles() {
		names = append(names, p.Name())
	}
	return names
}

// record runs a recorder for the seconds asked for, or until the listener closes.
func (s *Server) record(c *call, start func(io.Writer) error, stop func()) fault.Fault {
	seconds, ok := number(c, "seconds", usualProfile, longestProfile)
	if !ok || seconds == 0 {
		return fault.BadRequest.Detail("want seconds from 1 to " + strconv.Itoa(longestProfile))
	}
	var out bytes.Buffer
	if err := start(&out); err != nil {
		return fault.Overloaded.Detail("another recording is under way").After(time.Duration(seconds) * time.Second)
	}
	timer := time.NewTimer(time.Duration(seconds) * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.closing:
	}
	stop()
	c.SetContentType("application/octet-stream")
	c.Response.SetBody(out.Bytes())
	return fault.Fault{}
}

// number reads a number of the query; it must not be above most.
func number(c *call, key string, usual, most int) (int, bool) {
	if !c.QueryArgs().Has(key) {
		return usual, true
	}
	n, err := c.QueryArgs().GetUint(key)
	return n, err == nil && n <= most
}
