package config

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/suuupra/gateway/core/setting"
)

// Stores are the servers that keep what must outlive this process, or be known to
// other instances. Without them everything is kept on this machine.
type Stores struct {
	Redis    *RedisStore    `yaml:"redis" doc:"Redis or Valkey, from 6.2 on: what is ephemeral, and what other instances must know at once."`
	Postgres *PostgresStore `yaml:"postgres" doc:"PostgreSQL, from 13 on: what is durable. gateway migrate makes its tables."`
}

// RedisStore says where Redis is.
type RedisStore struct {
	At        setting.Position   `yaml:"@at"`
	Node      *setting.Node      `yaml:"@node"`
	Addresses setting.StringList `yaml:"addresses" doc:"host:port of the server, of the sentinels, or of some nodes of the cluster."`
	Mode      string             `yaml:"mode" default:"single" enum:"single|sentinel|cluster" doc:"How the servers stand to each other."`
	Master    string             `yaml:"master" default:"mymaster" doc:"What the sentinels call the master."`
	Timeout   setting.Duration   `yaml:"timeout" default:"20ms" min:"1ms" max:"10s" doc:"The longest that a request waits for an answer."`
	Prefix    string             `yaml:"prefix" doc:"Stands before every key, for servers that others use as well."`
	Username  string             `yaml:"username" doc:"User of the ACL; default by default."`
	Password  setting.Secret     `yaml:"password" doc:"Password of the user; better in password_file."`
	// TLS is nil where Redis speaks none.
	TLS *ServiceTLS `yaml:"tls" doc:"Speak TLS, always verified; {} trusts what the system trusts."`
}

// PostgresStore says where PostgreSQL is.
type PostgresStore struct {
	At   setting.Position `yaml:"@at"`
	Node *setting.Node    `yaml:"@node"`
	URL  setting.Secret   `yaml:"url" doc:"postgres://user:password@host:port/database?sslmode=verify-full; better in url_file."`
}

// stores checks what is said of the servers.
func (c *checker) stores() {
	if s := c.cfg.Stores; s != nil {
		c.redis(s.Redis)
		c.postgres(s.Postgres)
	}
}

func (c *checker) redis(s *RedisStore) {
	if s == nil || s.Node.Kind != setting.Map {
		return
	}
	if missing(s.Node, "addresses") || emptyList(s.Node.Get("addresses")) {
		c.r.AddNode(s.Node, "want the addresses of Redis, such as addresses: 127.0.0.1:6379", "")
	}
	local := true
	for i, text := range s.Addresses {
		a, ok := parseAddress(text)
		if !ok || a.host == "" || a.port == 0 {
			n := s.Node.Get("addresses").Values()[i]
			c.r.AddNode(n, "want host:port, got "+n.Describe(), "")
			continue
		}
		local = local && a.loopback()
	}
	if s.TLS == nil && !local {
		c.r.WarnNode(s.Node, "Redis is beyond this machine and no TLS is spoken with it: whoever listens on the way learns of sessions and keys; set tls", "")
	}
	if t := s.TLS; t != nil && t.Node.Kind == setting.Map {
		c.outboundTLS(t)
	}
}

// postgres wants a URL that names a database.
func (c *checker) postgres(s *PostgresStore) {
	if s == nil || s.Node.Kind != setting.Map {
		return
	}
	at := written(s.Node, "url")
	switch text := s.URL.Reveal(); {
	case missing(s.Node, "url") && missing(s.Node, "url_file"):
		c.r.AddNode(s.Node, "want a url_file or a url", "")
	case s.URL.IsZero():
	default:
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" {
			c.r.AddNode(at, "want a URL such as postgres://user:password@host:5432/database?sslmode=verify-full", "")
			return
		}
		if mode := u.Query().Get("sslmode"); mode != "verify-full" && !loopbackName(u.Hostname()) {
			c.r.WarnNode(at, "PostgreSQL is beyond this machine and sslmode is not verify-full: whoever stands between can read and change everything", "")
		}
	}
}

// loopbackName says that a host is this machine.
func loopbackName(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
