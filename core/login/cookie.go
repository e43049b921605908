package login

import (
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/suuupra/gateway/core/pipeline"
)

// deviceCookie names the cookie by which a device is known on which the user has logged
// in (SECURITY I11). A browser takes it over TLS alone.
const deviceCookie = "__Secure-device"

// deviceAge is how long browsers keep it at most, in seconds (RFC 6265bis §5.5).
const deviceAge = 400 * 24 * 60 * 60

// cookie returns the value of the named cookie; empty if there is none, or if there are
// two: then somebody who can set cookies for a domain above ours may have put one there.
func cookie(x *pipeline.Exchange, name string) string {
	found, times := "", 0
	for key, value := range x.Request.Header.Cookies() {
		if string(key) == name {
			found = string(value)
			times++
		}
	}
	if times > 1 {
		return ""
	}
	return found
}

// setCookie sets a cookie for /auth alone, which no script reads and no other site's
// page sends. It is written by hand: the value is of visible ASCII without ";".
func setCookie(x *pipeline.Exchange, name, value string, seconds int64) {
	x.Response.Header.Add(fasthttp.HeaderSetCookie, strings.Join([]string{
		name + "=" + value, "Path=/auth", "Max-Age=" + strconv.FormatInt(seconds, 10), "Secure", "HttpOnly", "SameSite=Strict",
	}, "; "))
}

func (l *Login) setRefreshCookie(x *pipeline.Exchange, token string, seconds int64) {
	setCookie(x, l.o.Web.Cookie, token, seconds)
}

func (l *Login) clearRefreshCookie(x *pipeline.Exchange) { setCookie(x, l.o.Web.Cookie, "", 0) }

// isPage says whether the request comes from a page that identity.web names.
func (l *Login) isPage(x *pipeline.Exchange) bool {
	if l.o.Web == nil {
		return false
	}
	origins := x.Request.Header.PeekAll(fasthttp.HeaderOrigin)
	return len(origins) == 1 && slices.Contains(l.o.Web.Origins, string(origins[0]))
}
