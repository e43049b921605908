package main

import (
	"fmt"
	"path/filepath"
)

// setting is what the configurations of all proxies have in common.
type setting struct {
	dir         string // for files of the proxy's own
	origin      string // host:port
	port        int    // to listen on
	admin       int    // port of the gateway's admin listener
	workers     int
	connections int // that the load opens: as many are kept to the origin
	logging     bool
	identity    *identity // nil: clients speak plain HTTP
	upgrades    bool      // clients open WebSockets
	known       *known    // nil: credentials are not looked at
	limits      string    // mode of the limiter; empty: nothing is limited
	redis       string    // host:port, for the modes that count there
	guarded     bool      // the service has all that guards it
}

// accessLog is where an access log goes, if there is one.
func (s *setting) accessLog() string { return filepath.Join(s.dir, "access.log") }

// gatewayYAML is a plain proxy: one route, one service, no plugin but the log; auth, with
// one scope, where credentials are looked at; and limits, where callers are counted.
func gatewayYAML(s *setting) string {
	tls := ""
	if s.identity != nil {
		tls = fmt.Sprintf(", tls: {certificates: [{certificate_file: %q, key_file: %q}]}", s.identity.certificate, s.identity.key)
	}
	plugins := ""
	if s.upgrades {
		plugins = ", plugins: {websocket: {connections: off, idle: off}}"
	}
	directory, auth := s.dir, "off"
	if s.known != nil {
		directory, auth = s.known.dir, "{scopes: {all: [bench]}}" // where the keys are
	}
	guards, target := "", "service: origin"
	if s.guarded {
		guards, target = gatewayGuards, gatewaySplit
	}
	text := fmt.Sprintf(`listen:
  public: {address: "127.0.0.1:%d"%s}
admin: {address: "127.0.0.1:%d"}
directory: %q
shutdown: {delay: 0s, drain: 2s}
limits: {connections: %d, buffer: 64KiB}
services:
  origin:
    endpoints: [{url: "http://%s"}]
    connections: {maximum: %d, idle: %d, idle_timeout: 60s}
%sroutes:
  all: {match: {path: "/{rest...}"}, %s%s}
`, s.port, tls, s.admin, directory, max(10_000, 2*s.connections), s.origin, 4*s.connections, 2*s.connections, guards, target, plugins)
	logging := "off"
	if s.logging {
		logging = fmt.Sprintf("{to: %q}", s.accessLog())
	}
	if s.known != nil {
		text += s.known.yaml
	}
	levels := ""
	if s.limits != "" {
		text += fmt.Sprintf(gatewayPolicies, s.limits)
		levels = gatewayLevels
	}
	if s.redis != "" {
		text += fmt.Sprintf("stores: {redis: {addresses: [%q], timeout: 1s}}\n", s.redis)
	}
	return text + fmt.Sprintf("defaults: {plugins: {auth: %s, access_log: %s%s}}\n", auth, logging, levels)
}

// gatewayGuards are all that can guard a service, none of which ever has to act, and
// gatewaySplit a release that only who asks for it gets: what is measured is what being ready costs.
const (
	gatewayGuards = `    health: {path: /small, interval: 1s}
    ejection: {}
    panic_threshold: 50%
    slow_start: 30s
    breaker: {slow: {over: 5s, share: 80%}}
    bulkhead: {maximum: 10000, adaptive: true}
  release: {endpoints: [{url: "http://127.0.0.1:9"}]}
`
	gatewaySplit = `split: {origin: 10000, release: 0}, split_by: ip, pin: [{headers: {X-Release: next}, service: release}]`
)

// nginxConf has the same buffers (64 KiB of a body are kept in memory, nothing
// goes to disk) and connections that are never closed for their age. It adds no
// field but Date and Server: the gateway's work on X-Forwarded-For, Via and ids is
// its own expense.
func nginxConf(s *setting) string {
	log := "off"
	if s.logging {
		log = s.accessLog()
	}
	upgrade := `proxy_set_header Connection "";`
	if s.upgrades {
		upgrade = `proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_read_timeout 1h; proxy_send_timeout 1h;`
	}
	tls, certificate := "", ""
	if s.identity != nil {
		tls, certificate = " ssl", fmt.Sprintf("ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:10m; ssl_certificate %s; ssl_certificate_key %s;", s.identity.certificate, s.identity.key)
	}
	return fmt.Sprintf(`daemon off;
user root;
worker_processes %d;
pid %s/nginx.pid;
error_log %s/nginx.err warn;
events { worker_connections %d; }
http {
  access_log %s;
  client_body_temp_path %s/body;
  proxy_temp_path %s/proxy;
  fastcgi_temp_path %s/fastcgi;
  uwsgi_temp_path %s/uwsgi;
  scgi_temp_path %s/scgi;
  tcp_nodelay on;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_body_buffer_size 64k;
  upstream origin {
    server %s;
    keepalive %d;
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    keepalive_time 24h;
  }
  server {
    listen 127.0.0.1:%d%s reuseport backlog=4096;
    %s
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      %s
      proxy_buffer_size 16k;
      proxy_buffers 4 16k;
      proxy_busy_buffers_size 32k;
      proxy_max_temp_file_size 0;
    }
  }
}
`, s.workers, s.dir, s.dir, 16*s.connections, log, s.dir, s.dir, s.dir, s.dir, s.dir, s.origin, 2*s.connections, s.port, tls, certificate, upgrade)
}

// haproxyConf keeps idle connections as long as the others do, and has a buffer
// of the same size.
func haproxyConf(s *setting) string {
	tls := ""
	if s.identity != nil {
		tls = " ssl crt " + s.identity.both
	}
	rules, tables := "", ""
	if s.known != nil {
		rules = fmt.Sprintf(haproxyRules, s.known.public)
	}
	if s.limits != "" {
		rules, tables = rules+haproxyCounts, haproxyTables
	}
	return fmt.Sprintf(`global
  nbthread %d
  maxconn %d
  tune.bufsize 65536
defaults
  mode http
  no log
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 300s
  timeout server 60s
  timeout http-keep-alive 300s
%slisten bench
  bind 127.0.0.1:%d%s
%s  server origin %s pool-max-conn %d pool-purge-delay 60s
`, s.workers, 16*s.connections, tables, s.port, tls, rules, s.origin, 2*s.connections)
}

// haproxyRules are what the gateway does with a token, as far as HAProxy can: signature,
// algorithm, issuer, audience, expiry and scope are looked at, the token stays here, and
// the service is told who calls.
const haproxyRules = `  http-request set-var(txn.token) http_auth_bearer
  http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
  http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless { var(txn.alg) -m str RS256 }
  http-request deny deny_status 401 unless { var(txn.token),jwt_verify(txn.alg,"%s") -m int 1 }
  http-request deny deny_status 401 unless { var(txn.token),jwt_payload_query('$.iss') -m str ` + issuer + ` }
  http-request deny deny_status 401 unless { var(txn.token),jwt_payload_query('$.aud') -m str ` + audience + ` }
  http-request deny deny_status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }
  http-request deny deny_status 403 unless { var(txn.token),jwt_payload_query('$.scope[0]') -m str bench }
  http-request del-header Authorization
  http-request set-header X-User-ID %%[var(txn.token),jwt_payload_query('$.sub')]
  http-request set-header X-Client-ID %%[var(txn.token),jwt_payload_query('$.client_id')]
`
