package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/discovery"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/store/redis"
)

func TestS4_WhatDoctorSaysOfRedis(t *testing.T) {
	t.Parallel()
	single, sentinel, cluster := &config.RedisStore{Mode: "single"}, &config.RedisStore{Mode: "sentinel"}, &config.RedisStore{Mode: "cluster"}
	for name, c := range map[string]struct {
		store  *config.RedisStore
		server redis.Server
		state  string
		want   string
	}{
		"well":                    {single, redis.Server{Version: "7.2.4", Policy: "noeviction", Master: true, Maximum: 100, Used: 89}, stateOK, "version 7.2.4, master, 0 replicas"},
		"the oldest":              {single, redis.Server{Version: "6.2.0", Master: true}, stateOK, ""},
		"a version of its own":    {single, redis.Server{Version: "unstable", Master: true}, stateOK, ""},
		"too old":                 {single, redis.Server{Version: "6.0.16", Master: true}, stateFail, "6.2 or later"},
		"much too old":            {single, redis.Server{Version: "5.9", Master: true}, stateFail, "6.2 or later"},
		"evicts":                  {single, redis.Server{Version: "7.0.0", Policy: "allkeys-lfu", Master: true}, stateFail, "allkeys-lfu"},
		"evicts what will expire": {single, redis.Server{Version: "7.0.0", Policy: "volatile-ttl", Master: true}, stateOK, "volatile-ttl"},
		"nearly full":             {single, redis.Server{Version: "7.0.0", Master: true, Maximum: 100 << 20, Used: 95 << 20}, stateWarn, "95 of 100 MiB"},
		"a replica alone":         {single, redis.Server{Version: "7.0.0", Linked: true}, stateFail, "replica"},
		"a cluster taken for one": {single, redis.Server{Version: "7.0.0", Master: true, Cluster: "ok"}, stateFail, "mode: cluster"},
		"a cluster":               {cluster, redis.Server{Version: "7.0.0", Master: true, Cluster: "ok"}, stateOK, "master"},
		"a cluster's replica":     {cluster, redis.Server{Version: "7.0.0", Linked: true, Cluster: "ok"}, stateOK, "replica"},
		"out of touch":            {cluster, redis.Server{Version: "7.0.0", Cluster: "ok"}, stateWarn, "not in touch"},
		"a broken cluster":        {cluster, redis.Server{Version: "7.0.0", Master: true, Cluster: "fail"}, stateFail, "cluster_state:fail"},
		"nobody to turn to":       {sentinel, redis.Server{Version: "7.0.0", Master: true}, stateWarn, "no replica"},
		"somebody to turn to":     {sentinel, redis.Server{Version: "7.0.0", Master: true, Replicas: 1}, stateOK, "1 replica,"},
	} {
		if f := judgeRedis(c.store, c.server); f.State != c.state || !strings.Contains(f.line(), c.want) || (f.State != stateOK) != (f.Do != "") {
			t.Errorf("%s: got %+v, want %s with %q", name, f, c.state, c.want)
		}
	}
}

func TestS4_WhatDoctorSaysOfDiscovery(t *testing.T) {
	t.Parallel()
	away := errors.New("no route to host")
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		asked discovery.Asked
		state string
		want  string
	}{
		"well":                 {discovery.Asked{Endpoints: 3}, stateOK, "consul knows 3 endpoints"},
		"some that are barred": {discovery.Asked{Endpoints: 3, Err: errors.New("refused \"x\"")}, stateWarn, `3 endpoints; refused "x"`},
		"nothing":              {discovery.Asked{}, stateFail, "consul knows no endpoint; a start would know no endpoint"},
		"away":                 {discovery.Asked{Err: away}, stateFail, "no route to host; a start would know no endpoint"},
		"away, and known":      {discovery.Asked{Err: away, Known: 2, Since: since}, stateWarn, "by the 2 endpoints known last, of 2026-01-02T03:04:05Z"},
	} {
		if f := judgeDiscovery("discovery of a", "consul", c.asked); f.State != c.state || !strings.Contains(f.line(), c.want) || (f.State != stateOK) != (f.Do != "") {
			t.Errorf("%s: got %+v, want %s with %q", name, f, c.state, c.want)
		}
	}
}

func TestS4_WhatDoctorSaysOfPostgres(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server postgres.Server
		state  string
	}{
		"well":               {postgres.Server{Number: 130000, Connections: 32, Pool: 16}, stateOK},
		"too old":            {postgres.Server{Number: 120017, Connections: 100, Pool: 16}, stateFail},
		"a standby":          {postgres.Server{Number: 160000, Connections: 100, Pool: 16, ReadOnly: true}, stateFail},
		"room for one of us": {postgres.Server{Number: 160000, Connections: 20, Pool: 16}, stateWarn},
	} {
		if f := judgeDatabase("postgres", c.server); f.State != c.state {
			t.Errorf("%s: got %+v, want %s", name, f, c.state)
		}
	}
}

func TestS4_ClocksThatAreApart(t *testing.T) {
	t.Parallel()
	for skew, want := range map[time.Duration]string{
		0: "", 900 * time.Millisecond: "", -1500 * time.Millisecond: stateWarn, 20 * time.Second: stateWarn, -time.Hour: stateFail, time.Hour: stateFail,
	} {
		found := skewed("redis", "Redis", skew)
		if want == "" && found != nil || want != "" && (len(found) != 1 || found[0].State != want) {
			t.Errorf("%v: got %+v, want %q", skew, found, want)
		}
	}
}

// C11: whoever quotes the URL, its password is not shown.
func TestC11_DoctorMasksPasswords(t *testing.T) {
	t.Parallel()
	const at = "postgres://u:p%40ss%20word@h/d"
	text := masked(errors.New("cannot parse postgres://u:p%40ss%20word@h/d: p@ss word, p%40ss+word"), at)
	if strings.Contains(text, "word") {
		t.Errorf("got %q", text)
	}
	if text := masked(errors.New("no"), "postgres://h/d"); text != "no" {
		t.Errorf("got %q", text)
	}
	if text := masked(errors.New("no"), "%"); text != "no" {
		t.Errorf("got %q", text)
	}
}
