package login_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/gateway/gatewaytest"
)

// A certificate that the listener has verified binds what a login gives; over another
// connection the tokens are refused, whatever it shows.
func TestI14_Certificates(t *testing.T) {
	t.Parallel()
	dir, servers, partners := t.TempDir(), certificatetest.NewAuthority(t), certificatetest.NewAuthority(t)
	certificateFile, keyFile := servers.Issue(t, "a").Write(t, dir, "server")
	ca := filepath.Join(dir, "partners.pem")
	if err := os.WriteFile(ca, []byte(partners.PEM), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStandOf(t, open+fmt.Sprintf("listen: {secure: {address: \"127.0.0.1:0\", tls: {certificates: [{certificate_file: %q, key_file: %q}], client_ca_file: %q}}}\n",
		certificateFile, keyFile, ca), nil)
	mine, theirs := partners.Issue(t, "mine").TLS(), partners.Issue(t, "theirs").TLS()
	post := func(pair *tls.Certificate, path, body, field string) string {
		t.Helper()
		config := &tls.Config{RootCAs: servers.Pool, ServerName: "a", Certificates: []tls.Certificate{*pair}}
		c := gatewaytest.DialTLS(t, s.Gateway.Gateway.Address("secure").String(), config)
		c.Write(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", path, field, len(body), body))
		return gatewaytest.Scrub(c.Read("POST"))
	}
	if got := post(&mine, "/auth/login", loginBody, ""); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Fatal(got)
	}
	sum := sha256.Sum256(mine.Certificate[0])
	if got, want := s.tokens.get("access-1").Thumbprint, base64.RawURLEncoding.EncodeToString(sum[:]); got != want {
		t.Errorf("bound to %q, want %q", got, want)
	}
	refreshing := bearer("refresh-1") + "\r\n"
	same(t, "another certificate", post(&theirs, "/auth/refresh", "", refreshing), unbound)
	same(t, "no TLS", s.post("/auth/refresh", "", bearer("refresh-1")), unbound)
	same(t, "no TLS, access", s.send("GET", "/auth/sessions", "", bearer("access-1")), unbound)
	same(t, "its own", post(&mine, "/auth/refresh", "", refreshing), granted(2, ""))
}
