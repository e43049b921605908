package testenv_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/suuupra/gateway/core/certificate/certificatetest"
	"github.com/suuupra/gateway/core/testenv"
)

// What is registered comes and goes at once, and outlives the agent's death.
func TestConsul(t *testing.T) {
	t.Parallel()
	s := testenv.NewConsul(t, testenv.ConsulOptions{})
	passing := func() string {
		t.Helper()
		return string(s.Do(t, http.MethodGet, "/v1/health/service/shop?passing=1", nil))
	}
	s.Register(t, testenv.ConsulInstance{ID: "one", Service: "shop", Tags: []string{"v1"}, Port: 81})
	s.Register(t, testenv.ConsulInstance{ID: "two", Service: "shop", Port: 82})
	if got := passing(); !strings.Contains(got, `"Port":81`) || !strings.Contains(got, `"Port":82`) {
		t.Fatalf("it knows %s", got)
	}
	s.Check(t, "one", "critical")
	if got := passing(); strings.Contains(got, `"Port":81`) {
		t.Errorf("after a check has failed it knows %s", got)
	}
	s.Check(t, "one", "passing")
	s.Deregister(t, "two")
	s.Stop()
	s.Stop()
	if conn, err := net.Dial("tcp", s.Address()); err == nil {
		conn.Close()
		t.Fatal("it listens after Stop")
	}
	if _, err := s.Ask(http.MethodGet, "/v1/status/leader", nil); err == nil {
		t.Error("it answers after Stop")
	}
	s.Start()
	if got := passing(); !strings.Contains(got, `"Port":81`) || strings.Contains(got, `"Port":82`) {
		t.Errorf("after its restart it knows %s", got)
	}
}

// Over TLS it wants a certificate, and behind an ACL the token.
func TestConsulIsClosed(t *testing.T) {
	t.Parallel()
	authority := certificatetest.NewAuthority(t)
	leaf, dir := authority.Issue(t, "127.0.0.1"), t.TempDir()
	authorityFile, _ := (&certificatetest.Leaf{Certificate: authority.PEM}).Write(t, dir, "authority")
	certificateFile, keyFile := leaf.Write(t, dir, "consul")
	client := &tls.Config{RootCAs: authority.Pool, Certificates: []tls.Certificate{leaf.TLS()}}
	s := testenv.NewConsul(t, testenv.ConsulOptions{
		Token: "6f0c7f2e-9d5b-4a3c-8e61-2b7d1c9a4f50",
		TLS:   &testenv.ConsulTLS{Authority: authorityFile, Certificate: certificateFile, Key: keyFile, Client: client},
	})
	s.Register(t, testenv.ConsulInstance{ID: "one", Service: "shop", Port: 81})
	ask := func(client *tls.Config) (string, error) {
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: client}
		response, err := (&http.Client{Transport: transport}).Get(s.URL() + "/v1/agent/services")
		if err != nil {
			return "", err
		}
		return response.Status, response.Body.Close()
	}
	if got, err := ask(client); err != nil || got != "200 OK" { // what may be seen is filtered
		t.Errorf("without a token: %q, %v", got, err)
	}
	if got, err := ask(&tls.Config{RootCAs: authority.Pool}); err == nil {
		t.Errorf("without a certificate: %q", got)
	}
	if got := string(s.Do(t, http.MethodGet, "/v1/agent/services", nil)); !strings.Contains(got, `"Port":81`) && !strings.Contains(got, `"Port": 81`) {
		t.Errorf("with all of it: %s", got)
	}
}
