package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/store/redis"
)

// oldestPostgres is the first version that has all that is asked of it.
const oldestPostgres = 130000

// checkDatabase looks at PostgreSQL and its tables.
func checkDatabase(ctx context.Context, e *examination) []diagnosis {
	const name = "postgres"
	at, err := databaseURL(e.config)
	if err != nil {
		return []diagnosis{{stateOK, name, "not configured: all that must last is kept on this machine", ""}}
	}
	at = strings.TrimSpace(at)
	db, err := postgres.Open(ctx, postgres.Options{URL: at, Log: zerolog.Nop()})
	if err != nil {
		return []diagnosis{{stateFail, name, masked(err, at), "mend stores.postgres.url"}}
	}
	defer db.Close()
	s, err := db.Survey(ctx)
	if err != nil {
		return []diagnosis{{stateFail, name, masked(err, at), "see that it runs, that this machine may connect (pg_hba.conf), and that stores.postgres.url is right"}}
	}
	return append(append([]diagnosis{judgeDatabase(name, s)}, skewed(name, "PostgreSQL", s.Skew)...), checkMigrations(ctx, at))
}

func judgeDatabase(name string, s postgres.Server) diagnosis {
	switch {
	case s.Number < oldestPostgres:
		return diagnosis{stateFail, name, "version " + s.Version, "the gateway needs 13 or later"}
	case s.ReadOnly:
		return diagnosis{stateFail, name, "it is a standby, or refuses changes", "name the primary in stores.postgres.url (target_session_attrs=read-write finds it among several hosts)"}
	case s.Pool*2 > s.Connections:
		return diagnosis{stateWarn, name, fmt.Sprintf("version %s takes %d connections, and each instance may open %d", s.Version, s.Connections, s.Pool), "raise its max_connections, or set pool_max_conns in the URL"}
	}
	return diagnosis{stateOK, name, fmt.Sprintf("version %s answers; each instance may open %d of its %d connections", s.Version, s.Pool, s.Connections), ""}
}

func checkMigrations(ctx context.Context, at string) diagnosis {
	const name = "migrations"
	steps, err := postgres.Migrate(ctx, at, postgres.Status)
	if err != nil {
		return diagnosis{stateFail, name, masked(err, at), "look with `gateway migrate status`"}
	}
	var missing []string
	for _, s := range steps {
		if s.Done.IsZero() {
			missing = append(missing, s.Name)
		}
	}
	if len(missing) > 0 {
		return diagnosis{stateFail, name, "not done: " + strings.Join(missing, ", "), "gateway migrate up"}
	}
	return diagnosis{stateOK, name, fmt.Sprintf("all %d steps are done", len(steps)), ""}
}

// masked is the text of err without the password of the URL, in whatever form it was
// quoted.
func masked(err error, at string) string {
	text := err.Error()
	u, parseErr := url.Parse(at)
	if parseErr != nil || u.User == nil {
		return text
	}
	password, _ := u.User.Password()
	_, rest, _ := strings.Cut(at, "://")
	written, _, _ := strings.Cut(rest, "@")
	_, written, _ = strings.Cut(written, ":")
	for _, form := range []string{written, password, url.QueryEscape(password), url.PathEscape(password)} {
		if form != "" {
			text = strings.ReplaceAll(text, form, "***")
		}
	}
	return text
}

// checkRedis looks at each server of Redis.
func checkRedis(ctx context.Context, e *examination) []diagnosis {
	const name = "redis"
	if e.config.Stores == nil || e.config.Stores.Redis == nil {
		return []diagnosis{{stateOK, name, "not configured: this instance counts and revokes for itself", ""}}
	}
	r := e.config.Stores.Redis
	client, err := openRedis(r, "doctor", zerolog.Nop())
	if err != nil {
		return []diagnosis{{stateFail, name, err.Error(), "mend stores.redis"}}
	}
	defer client.Close()
	servers, err := client.Survey(ctx)
	if err != nil {
		return []diagnosis{{stateFail, name, err.Error(), "see that it runs and that stores.redis has its addresses, mode, user and password; the user needs INFO and TIME for this check"}}
	}
	var found []diagnosis
	for _, s := range servers {
		found = append(append(found, judgeRedis(r, s)), skewed(name, "Redis at "+s.Address, s.Skew)...)
	}
	return found
}

// judgeRedis says whether a server is one to rely on.
func judgeRedis(r *config.RedisStore, s redis.Server) diagnosis {
	name := "redis " + s.Address
	switch {
	case older(s.Version, 6, 2):
		return diagnosis{stateFail, name, "version " + s.Version, "the gateway needs 6.2 or later, or Valkey"}
	case strings.HasPrefix(s.Policy, "allkeys-"):
		return diagnosis{stateFail, name, "maxmemory-policy is " + s.Policy + ", which drops revocations and counters that are still needed", "CONFIG SET maxmemory-policy noeviction, or a volatile-… one, and the same in redis.conf"}
	case s.Cluster != "" && s.Cluster != "ok":
		return diagnosis{stateFail, name, "the cluster says cluster_state:" + s.Cluster, "look with `redis-cli --cluster check " + s.Address + "`"}
	case s.Cluster != "" && r.Mode != "cluster":
		return diagnosis{stateFail, name, "it is a node of a cluster, and stores.redis.mode is " + r.Mode, "set mode: cluster"}
	case s.Cluster == "" && !s.Master:
		return diagnosis{stateFail, name, "it is a replica, which refuses changes", "name the master, or the sentinels with mode: sentinel"}
	case !s.Master && !s.Linked:
		return diagnosis{stateWarn, name, "a replica that is not in touch with its master", "see that it can reach the master"}
	case s.Maximum > 0 && s.Used > s.Maximum/10*9:
		return diagnosis{stateWarn, name, fmt.Sprintf("%d of %d MiB are used", s.Used>>20, s.Maximum>>20), "raise maxmemory: beyond it Redis refuses to count"}
	case r.Mode == "sentinel" && s.Master && s.Replicas == 0:
		return diagnosis{stateWarn, name, "the master has no replica", "add one: the sentinels have nobody to turn to"}
	}
	role := "replica"
	if s.Master {
		role = "master, " + counted(s.Replicas, "replica")
	}
	return diagnosis{stateOK, name, fmt.Sprintf("version %s, %s, maxmemory-policy %s", s.Version, role, s.Policy), ""}
}

// older says that a version is before major.minor. One that can't be read is not.
func older(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a < major || a == major && b < minor)
}
