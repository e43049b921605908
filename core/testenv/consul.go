package testenv

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// ConsulOptions are what NewConsul needs; the zero value is an agent as it is after
// `consul agent`, without TLS and without an ACL.
type ConsulOptions struct {
	// Token has all rights in an ACL that denies everybody else everything; it must be a
	// UUID. Empty: there is no ACL.
	Token string
	// TLS is nil for plain HTTP. With it the API has nothing but HTTPS, and wants
	// certificates of its clients.
	TLS *ConsulTLS
}

// ConsulTLS are the files of an HTTPS listener, in PEM form, and who talks to it.
type ConsulTLS struct {
	Authority, Certificate, Key string
	Client                      *tls.Config // of Ask
}

// ConsulServer is a private Consul: one agent that is its own cluster. Its methods belong
// to one goroutine at a time, but for Ask and what is made of it.
type ConsulServer struct {
	*server
	t      testing.TB
	binary string
	scheme string
	token  string
	client *http.Client
}

// NewConsul starts an agent for this test alone, which may stop and start it. It ends with
// the test.
func NewConsul(t testing.TB, o ConsulOptions) *ConsulServer {
	t.Helper()
	binary, err := consulBinary()
	must(t, err)
	place, err := place(nil)
	must(t, err)
	s := &ConsulServer{server: place, t: t, binary: binary, scheme: "http", token: o.Token}
	t.Cleanup(func() { s.remove(syscall.SIGKILL) })
	transport := &http.Transport{DisableKeepAlives: true} // nothing is left of it for tests that look for leaks
	if o.TLS != nil {
		s.scheme, transport.TLSClientConfig = "https", o.TLS.Client
	}
	s.client = &http.Client{Transport: transport, Timeout: patience}
	must(t, s.configure(o))
	must(t, s.begin())
	return s
}

// consulBinary is what the Makefile builds from the module below this package.
func consulBinary() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for bin/tools/consul: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("looking for bin/tools/consul: no go.mod above the test's folder")
		}
	}
	path := filepath.Join(dir, "bin", "tools", "consul")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("bin/tools/consul is not built (`make bin/tools/consul` does it, once): %w", err)
	}
	return path, nil
}

func (s *ConsulServer) configuration() string { return filepath.Join(s.dir, "consul.json") }

// configure writes the agent's file. The ports stay what they are over a restart: the
// agent's own data names them.
func (s *ConsulServer) configure(o ConsulOptions) error {
	ports := map[string]int{"http": s.port, "https": -1, "dns": -1, "grpc": -1, "serf_wan": -1}
	for _, name := range []string{"server", "serf_lan"} {
		var err error
		if ports[name], err = freePort(); err != nil {
			return err
		}
	}
	all := map[string]any{
		"server": true, "bootstrap_expect": 1, "node_name": consulNode, "data_dir": filepath.Join(s.dir, "data"),
		"bind_addr": "127.0.0.1", "ports": ports, "log_level": "warn",
		"performance":          map[string]any{"raft_multiplier": 1}, // 5 is for small machines: a leader comes later
		"connect":              map[string]any{"enabled": false},     // a mesh is of no use here, and its authority costs a second
		"disable_update_check": true,                                 // it would ask its makers
	}
	if o.Token != "" {
		all["acl"] = map[string]any{
			"enabled": true, "default_policy": "deny",
			"tokens": map[string]any{"initial_management": o.Token, "agent": o.Token},
		}
	}
	if o.TLS != nil {
		ports["http"], ports["https"] = -1, s.port
		all["tls"] = map[string]any{"https": map[string]any{
			"ca_file": o.TLS.Authority, "cert_file": o.TLS.Certificate, "key_file": o.TLS.Key, "verify_incoming": true,
		}}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("writing Consul's configuration: %w", err)
	}
	return os.WriteFile(s.configuration(), text, 0o600)
}

const consulNode = "node"

// begin starts the agent, which is ready when it is its own leader and has seen itself.
func (s *ConsulServer) begin() error {
	return s.start(exec.Command(s.binary, "-config-file", s.configuration()), func() error {
		answer, err := s.Ask(http.MethodGet, "/v1/health/node/"+consulNode, nil)
		if err == nil && !bytes.Contains(answer, []byte(`"passing"`)) {
			err = fmt.Errorf("the agent does not know itself: %s", answer)
		}
		return err
	})
}

// Address is where its HTTP API is, host:port.
func (s *ConsulServer) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL is Address with the scheme.
func (s *ConsulServer) URL() string { return s.scheme + "://" + s.Address() }

// Stop kills the agent. A second call does nothing.
func (s *ConsulServer) Stop() { s.stop(syscall.SIGKILL) }

// Start starts it again at the same ports, with all that it knew.
func (s *ConsulServer) Start() {
	s.t.Helper()
	must(s.t, s.begin())
}

// ConsulInstance is one instance of a service, on loopback.
type ConsulInstance struct {
	ID, Service string
	Tags        []string
	Port        int
}

// Register makes an instance known, with a check that passes until Check says otherwise.
func (s *ConsulServer) Register(t testing.TB, i ConsulInstance) {
	t.Helper()
	s.Do(t, http.MethodPut, "/v1/agent/service/register", map[string]any{
		"ID": i.ID, "Name": i.Service, "Tags": i.Tags, "Address": "127.0.0.1", "Port": i.Port,
		"Check": map[string]any{"TTL": "24h", "Status": "passing"},
	})
	s.Check(t, i.ID, "passing") // a status of the registration is forgotten over a restart
}

// Check sets what the instance's check says: passing, warning or critical.
func (s *ConsulServer) Check(t testing.TB, id, status string) {
	t.Helper()
	s.Do(t, http.MethodPut, "/v1/agent/check/update/service:"+id, map[string]any{"Status": status})
}

// Deregister takes an instance out.
func (s *ConsulServer) Deregister(t testing.TB, id string) {
	t.Helper()
	s.Do(t, http.MethodPut, "/v1/agent/service/deregister/"+id, nil)
}

// Do asks the HTTP API with the token that has all rights, and returns the answer.
func (s *ConsulServer) Do(t testing.TB, method, path string, body any) []byte {
	t.Helper()
	answer, err := s.Ask(method, path, body)
	must(t, err)
	return answer
}

// Ask is Do for those who know that the agent may be away. A status above 299 is an error.
func (s *ConsulServer) Ask(method, path string, body any) ([]byte, error) {
	text := []byte{}
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("writing a question for Consul: %w", err)
		}
	}
	request, err := http.NewRequest(method, s.URL()+path, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("asking Consul: %w", err)
	}
	if s.token != "" {
		request.Header.Set("X-Consul-Token", s.token)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode > 299 {
		err = fmt.Errorf("%s %s was answered with %d: %s", method, path, response.StatusCode, answer)
	}
	return answer, err
}
