package redis_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

func TestSurvey(t *testing.T) {
	t.Parallel()
	master := testenv.NewRedis(t, "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
	host, port, _ := net.SplitHostPort(master.Address())
	replica := testenv.NewRedis(t, "--replicaof", host+" "+port)
	await(t, "the replica is in touch", func() bool {
		return strings.HasPrefix(replica.Do(t, "EVAL", `return string.match(redis.call('INFO', 'replication'), 'master_link_status:(%a+)')`, "0"), "up")
	})
	found := survey(t, redis.Options{Addresses: []string{master.Address()}, Log: zerolog.Nop()})
	if len(found) != 1 {
		t.Fatalf("found %+v", found)
	}
	s := found[0]
	if s.Address != master.Address() || s.Version == "" || s.Policy != "allkeys-lru" || s.Maximum != 64<<20 || s.Used == 0 || !s.Master || s.Replicas != 1 || s.Cluster != "" {
		t.Errorf("the master is %+v", s)
	}
	if s.Skew.Abs() > time.Second {
		t.Errorf("its clock, which is ours, is %v ahead", s.Skew)
	}
	found = survey(t, redis.Options{Addresses: []string{replica.Address()}, Log: zerolog.Nop()})
	if len(found) != 1 || found[0].Master || !found[0].Linked || found[0].Policy != "noeviction" || found[0].Maximum != 0 {
		t.Errorf("the replica is %+v", found)
	}
}

func TestSurveyOfACluster(t *testing.T) {
	t.Parallel()
	node := testenv.NewRedis(t, "--cluster-enabled", "yes")
	found := survey(t, redis.Options{Addresses: []string{node.Address()}, Log: zerolog.Nop()})
	if len(found) != 1 || found[0].Cluster != "fail" {
		t.Errorf("a cluster without slots is %+v", found)
	}
}

func TestSurveyOfNobody(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	c := open(t, redis.Options{Addresses: []string{server.Address()}, Log: zerolog.Nop()})
	server.Stop()
	if found, err := c.Survey(t.Context()); err == nil || !strings.Contains(err.Error(), server.Address()) {
		t.Errorf("without a server: %+v, %v", found, err)
	}
	strict := testenv.NewRedis(t, "--cluster-enabled", "yes")
	for _, forbidden := range []string{"info", "cluster|info", "time"} {
		strict.Do(t, "ACL", "SETUSER", "reader", "reset", "on", ">secret", "+@all", "-"+forbidden)
		c := open(t, redis.Options{Addresses: []string{strict.Address()}, Username: "reader", Password: "secret", Log: zerolog.Nop()})
		if found, err := c.Survey(t.Context()); err == nil || !strings.Contains(err.Error(), forbidden) {
			t.Errorf("who may not ask %s gets %+v, %v", forbidden, found, err)
		}
	}
}

func survey(t *testing.T, o redis.Options) []redis.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	found, err := open(t, o).Survey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
