package ratelimit

import (
	"bytes"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/pipeline"
)

// The fields of an answer, as SPEC RL4 and the draft spell them (RateLimit header
// fields for HTTP, draft-ietf-httpapi-ratelimit-headers).
var (
	limitName     = []byte("X-RateLimit-Limit")
	remainingName = []byte("X-RateLimit-Remaining")
	resetName     = []byte("X-RateLimit-Reset")
	nowName       = []byte("RateLimit")
	policyName    = []byte("RateLimit-Policy")
)

// foreign are the fields that a service's answer may hold in place of ours, earlier
// drafts' among them, as fasthttp spells them. A client that read both would believe
// whichever it met.
var foreign = [][]byte{
	[]byte("X-Ratelimit-Limit"), []byte("X-Ratelimit-Remaining"), []byte("X-Ratelimit-Reset"), []byte("Ratelimit"), []byte("Ratelimit-Policy"),
	[]byte("Ratelimit-Limit"), []byte("Ratelimit-Remaining"), []byte("Ratelimit-Reset"),
}

// roomForFields is how long one field may be until it costs an allocation, in bytes.
const roomForFields = 512

// respond is the Response hook: it tells the caller what is left. It runs behind what
// keeps and replays answers, so that each answer tells of its own request.
func (l *limiter) respond(x *pipeline.Exchange) pipeline.Verdict {
	t := tightest(x.Limits.Charges)
	if t == nil {
		return pipeline.Continue
	}
	h := &x.Response.Header
	if x.FromService {
		dropForeign(h)
	}
	var room [roomForFields]byte
	h.SetCanonical(limitName, strconv.AppendInt(room[:0], t.Policy.Capacity(), 10))
	h.SetCanonical(remainingName, strconv.AppendInt(room[:0], t.Remaining, 10))
	h.SetCanonical(resetName, strconv.AppendInt(room[:0], seconds(t.Reset), 10))
	h.SetCanonical(nowName, appendNow(room[:0], &x.Limits))
	h.SetCanonical(policyName, appendPolicies(room[:0], &x.Limits))
	return pipeline.Continue
}

// tightest is the charge that denies, or else that has the least left; nil if none
// limits anything.
func tightest(charges []limit.Charge) (t *limit.Charge) {
	for i := range charges {
		c := &charges[i]
		if c.Bypass {
			continue
		}
		if t == nil || t.Wait == 0 && (c.Wait > 0 || c.Remaining < t.Remaining) {
			t = c
		}
	}
	return t
}

// appendNow appends RateLimit: of each level what is left, and until when all is there
// again.
func appendNow(dst []byte, l *pipeline.Limits) []byte {
	for i := range l.Charges {
		c := &l.Charges[i]
		if c.Bypass {
			continue
		}
		dst = appendName(dst, l.Levels[i])
		dst = strconv.AppendInt(append(dst, ";r="...), c.Remaining, 10)
		dst = strconv.AppendInt(append(dst, ";t="...), seconds(c.Reset), 10)
	}
	return dst
}

// appendPolicies appends RateLimit-Policy: of each level how many it admits in how many
// seconds, or how many at once where its time is no whole number of them.
func appendPolicies(dst []byte, l *pipeline.Limits) []byte {
	for i := range l.Charges {
		c := &l.Charges[i]
		if c.Bypass {
			continue
		}
		dst = append(appendName(dst, l.Levels[i]), ";q="...)
		if p := c.Policy; p.Per%time.Second == 0 {
			dst = append(strconv.AppendInt(dst, p.Count, 10), ";w="...)
			dst = strconv.AppendInt(dst, int64(p.Per/time.Second), 10)
		} else {
			dst = strconv.AppendInt(dst, p.Capacity(), 10)
		}
	}
	return dst
}

// appendName begins an item of a list (RFC 9651). Names of levels hold nothing that a
// string must escape.
func appendName(dst []byte, name string) []byte {
	if len(dst) > 0 {
		dst = append(dst, ", "...)
	}
	return append(append(append(dst, '"'), name...), '"')
}

// seconds are those of d, rounded up: who comes back then finds what was promised.
func seconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d%time.Second > 0 {
		s++
	}
	return s
}

// dropForeign takes the service's own such fields out of its answer, if there are any.
func dropForeign(h *fasthttp.ResponseHeader) {
	for name := range h.All() {
		if bytes.HasPrefix(name, foreign[0][:len("X-Ratelimit")]) || bytes.HasPrefix(name, foreign[3]) {
			for _, name := range foreign {
				h.DelBytes(name)
			}
			return
		}
	}
}
