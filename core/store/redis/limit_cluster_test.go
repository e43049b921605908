package redis_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/suuupra/gateway/core/limit"
	"github.com/suuupra/gateway/core/limit/limittest"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// clusterOf starts a cluster of three masters, each with a third of the slots.
func clusterOf(t *testing.T) []*testenv.RedisServer {
	t.Helper()
	var nodes []*testenv.RedisServer
	for i := range 3 {
		n := testenv.NewRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no")
		from, to := i*5462, min((i+1)*5462, 16384)-1
		if answer := n.Do(t, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(from), strconv.Itoa(to)); answer != "+OK" {
			t.Fatal(answer)
		}
		n.Do(t, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		nodes = append(nodes, n)
	}
	for _, n := range nodes[1:] {
		host, port, _ := net.SplitHostPort(nodes[0].Address())
		n.Do(t, "CLUSTER", "MEET", host, port, nodes[0].Bus())
	}
	await(t, "the nodes know each other", func() bool {
		for _, n := range nodes {
			for slot := range 3 {
				if answer := n.Do(t, "EVAL", "return 1", "1", fmt.Sprint("key", slot)); strings.HasPrefix(answer, "-CLUSTERDOWN") {
					return false
				}
			}
			if answer := n.Do(t, "CLUSTER", "COUNTKEYSINSLOT", "0"); answer != ":0" || !strings.Contains(info(t, n), "cluster_known_nodes:3") {
				return false
			}
		}
		return true
	})
	return nodes
}

// info is CLUSTER INFO in one line.
func info(t *testing.T, n *testenv.RedisServer) string {
	return n.Do(t, "EVAL", `return (string.gsub(redis.call('CLUSTER', 'INFO'), '\r\n', ' '))`, "0")
}

// nodeOf returns the node that has the key's slot, and the slot.
func nodeOf(t *testing.T, nodes []*testenv.RedisServer, key string) (int, string) {
	t.Helper()
	slot, err := strconv.Atoi(strings.TrimPrefix(nodes[0].Do(t, "CLUSTER", "KEYSLOT", key), ":"))
	if err != nil {
		t.Fatal(err)
	}
	return slot / 5462, strconv.Itoa(slot)
}

// keyOn returns a key of that node.
func keyOn(t *testing.T, nodes []*testenv.RedisServer, node int) string {
	t.Helper()
	for i := 0; ; i++ {
		if at, _ := nodeOf(t, nodes, fmt.Sprint("u", i)); at == node {
			return fmt.Sprint("u", i)
		}
	}
}

func inCluster(nodes []*testenv.RedisServer, prefix string) redis.Options {
	return redis.Options{Addresses: []string{nodes[0].Address()}, Mode: redis.Cluster, Prefix: prefix}
}

func TestExactIsAStoreInACluster(t *testing.T) {
	nodes := clusterOf(t)
	for name, prefix := range map[string]string{"many slots": "", "one slot": "{g}"} {
		t.Run(name, func(t *testing.T) {
			limittest.TestStore(t, func(t *testing.T) limittest.Fixture {
				s := exactOf(t, inCluster(nodes, prefix+prefixOf(t)), redis.ExactOptions{Timeout: patient})
				return limittest.Fixture{Store: s, Advance: time.Sleep, Exact: true, Settles: prefix == ""}
			})
		})
	}
}

// A slot is what the servers say, whatever the key.
func TestSlots(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t, "--cluster-enabled", "yes")
	keys := []string{"", "123456789", "{}", "{}a", "{a}b", "a{b}c", "a{b", "a}b{c}", "{{a}}", "a{}{b}", "}{", "\x00{\xff}\n", strings.Repeat("k", 5000)}
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		key := make([]byte, random.IntN(12))
		for i := range key {
			key[i] = "{}ab\x00\xff"[random.IntN(6)]
		}
		keys = append(keys, string(key))
	}
	for _, key := range keys {
		if got, want := redis.SlotOf([]byte(key)), server.Do(t, "CLUSTER", "KEYSLOT", key); ":"+strconv.Itoa(int(got)) != want {
			t.Errorf("%q lies in %d, want %s", key, got, want)
		}
	}
	for slot, tag := range redis.SlotTags() {
		if got := redis.SlotOf([]byte("epoch:{" + tag + "}")); int(got) != slot {
			t.Errorf("%s lies in %d, want %d", tag, got, slot)
		}
	}
}

// A slot that moves to another node takes its counters along, and nobody notices.
func TestExactSlotMoves(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t)
	s := exactOf(t, inCluster(nodes, ""), redis.ExactOptions{Timeout: patient})
	key := keyOn(t, nodes, 0)
	_, slot := nodeOf(t, nodes, key)
	f := floodOf(t, s, 8, func() []limit.Charge { return one(wide, key) })
	id := func(n int) string { return nodes[n].Do(t, "CLUSTER", "MYID") }
	host, port, _ := net.SplitHostPort(nodes[1].Address())
	for _, step := range []struct {
		node  int
		words []string
	}{
		{1, []string{"CLUSTER", "SETSLOT", slot, "IMPORTING", id(0)}},
		{0, []string{"CLUSTER", "SETSLOT", slot, "MIGRATING", id(1)}},
		{0, []string{"MIGRATE", host, port, key, "0", "5000"}},
		{1, []string{"CLUSTER", "SETSLOT", slot, "NODE", id(1)}},
		{0, []string{"CLUSTER", "SETSLOT", slot, "NODE", id(1)}},
	} {
		time.Sleep(100 * time.Millisecond)
		if answer := nodes[step.node].Do(t, step.words...); answer != "+OK" {
			t.Fatalf("%v: %s", step.words, answer)
		}
	}
	time.Sleep(200 * time.Millisecond)
	f.end()
	cs := one(wide, key)
	if _, err := s.Take(cs); err != nil {
		t.Fatal(err)
	}
	charged := wide.Burst - cs[0].Remaining - 1
	if f.failed.Load() > 0 || f.denied.Load() > 0 || charged != f.admitted.Load() || charged == 0 {
		t.Errorf("%d admitted, %d charged, %d failed, %d denied", f.admitted.Load(), charged, f.failed.Load(), f.denied.Load())
	}
}

// A node that hangs holds up what it counts, and nothing of the others'.
func TestExactNodeHangs(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t)
	s := exactOf(t, inCluster(nodes, ""), redis.ExactOptions{Timeout: 200 * time.Millisecond})
	keys := []string{keyOn(t, nodes, 0), keyOn(t, nodes, 1), keyOn(t, nodes, 2)}
	all := func() []limit.Charge {
		return []limit.Charge{one(wide, keys[0])[0], one(wide, keys[1])[0], one(wide, keys[2])[0]}
	}
	await(t, "all count", func() bool { _, err := s.Take(all()); return err == nil })
	nodes[2].Pause()
	begun, well := time.Now(), 0
	for range 20 {
		if _, err := s.Take(all()); err == nil {
			t.Error("decided without a level")
		}
		for _, key := range keys[:2] {
			if _, err := s.Take(one(wide, key)); err == nil {
				well++
			}
		}
	}
	if took := time.Since(begun); well < 38 || took > 15*time.Second {
		t.Errorf("%d of 40 that have nothing to do with it were decided, in %s", well, took)
	}
	nodes[2].Resume()
	await(t, "all count again", func() bool { _, err := s.Take(all()); return err == nil })
}

// What one slot denied the others give back, whatever they count and whatever has become
// of it.
func TestExactRefunds(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t)
	s := exactOf(t, inCluster(nodes, ""), redis.ExactOptions{Timeout: patient})
	free, spent := keyOn(t, nodes, 0), keyOn(t, nodes, 1)
	tight := policyOf(limit.TokenBucket, 1, hour)
	if _, err := s.Take(one(tight, spent)); err != nil {
		t.Fatal(err)
	}
	for _, a := range []limit.Algorithm{limit.TokenBucket, limit.SlidingWindow, limit.SlidingLog} {
		p := policyOf(a, 10, hour)
		key := free + a.String()
		for cost := range int64(3) {
			cs := []limit.Charge{
				{Policy: p, Key: []byte(key), Cost: 1 + cost}, {Policy: p, Key: []byte(key), Cost: 20, Bypass: true}, {Policy: tight, Key: []byte(spent), Cost: 1},
			}
			if denied, err := s.Take(cs); denied != 2 || err != nil || cs[0].Remaining != 10 {
				t.Errorf("%s: %d, %v: %+v", a, denied, err, cs)
			}
			await(t, "it is given back", func() bool {
				cs := []limit.Charge{{Policy: p, Key: []byte(key), Cost: 10}}
				denied, err := s.Take(cs)
				if err != nil {
					t.Fatal(err)
				}
				if denied == limit.Admitted {
					node, _ := nodeOf(t, nodes, key)
					nodes[node].Do(t, "DEL", key)
				}
				return denied == limit.Admitted
			})
		}
		// Others are charged before it is given back, and something else may lie there.
		node, _ := nodeOf(t, nodes, key)
		for _, command := range [][]string{{"DEL", key}, {"SET", key, "text"}, {"RPUSH", key, "x"}} {
			nodes[node].Do(t, "DEL", key)
			nodes[node].Do(t, command...)
			cs := []limit.Charge{{Policy: p, Key: []byte(key), Cost: 1}, {Policy: tight, Key: []byte(spent), Cost: 1}}
			if _, err := s.Take(cs); err != nil != (command[0] != "DEL") || err != nil && !errors.Is(err, limit.ErrCounter) {
				t.Errorf("%v: %v", command, err)
			}
		}
	}
}

// The epoch lies beside the counters of its slot, and is lost with them.
func TestExactEpochInACluster(t *testing.T) {
	t.Parallel()
	nodes := clusterOf(t)
	s := exactOf(t, inCluster(nodes, ""), redis.ExactOptions{Timeout: patient, LeaseLife: time.Second})
	p := policyOf(limit.TokenBucket, 10, hour)
	var keys []string
	for n := range nodes {
		keys = append(keys, keyOn(t, nodes, n))
	}
	admits := func(n int, suffix string) bool { // in the same slot
		denied, err := s.Take(one(p, "{"+keys[n]+"}"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		return denied == limit.Admitted
	}
	for n := range nodes {
		if admits(n, "first") {
			t.Errorf("node %d is new, and a bucket is full", n)
		}
	}
	time.Sleep(1100 * time.Millisecond)
	for n := range nodes {
		if !admits(n, "second") {
			t.Errorf("node %d is no longer new, and a bucket is empty", n)
		}
	}
	nodes[1].FlushAll(t)
	for n := range nodes {
		if admits(n, "third") != (n != 1) {
			t.Errorf("node 1 was wiped; on node %d a bucket is not as it should be", n)
		}
	}
}

func roleOf(t *testing.T, server *testenv.RedisServer) string {
	return server.Do(t, "EVAL", `return string.match(redis.call('INFO', 'replication'), 'role:(%a+)')`, "0")
}

func TestExactSentinel(t *testing.T) {
	t.Parallel()
	master := testenv.NewRedis(t)
	host, port, _ := net.SplitHostPort(master.Address())
	replica := testenv.NewRedis(t, "--replicaof", host, port, "--repl-diskless-sync-delay", "0")
	await(t, "the replica is one", func() bool {
		return strings.HasPrefix(replica.Do(t, "EVAL", `return string.match(redis.call('INFO', 'replication'), 'master_link_status:(%a+)')`, "0"), "up")
	})
	sentinel := testenv.NewSentinel(t, "suuupra", host, port)
	sentinel.Do(t, "SENTINEL", "SET", "suuupra", "down-after-milliseconds", "500")
	s := islandsOf(t, redis.Options{Addresses: []string{sentinel.Address()}, Mode: redis.Sentinel, Master: "suuupra"}, 300*time.Millisecond)
	p := policyOf(limit.TokenBucket, 100, hour)
	for range 40 {
		if denied, err := s.Take(one(p, "u")); denied != limit.Admitted || err != nil {
			t.Fatal(denied, err)
		}
	}
	await(t, "the sentinel knows the replica", func() bool { return strings.HasPrefix(sentinel.Do(t, "SENTINEL", "REPLICAS", "suuupra"), "*1") })
	await(t, "the replica has it", func() bool { return replica.Do(t, "EXISTS", "u") == ":1" && replica.Do(t, "WAIT", "0", "0") != "" })
	time.Sleep(50 * time.Millisecond) // what is on its way arrives
	master.Stop()
	begun := time.Now()
	admitted := 0
	await(t, "the replica counts", func() bool {
		if denied, err := s.Take(one(p, "u")); err != nil {
			t.Error(err)
		} else if denied == limit.Admitted {
			admitted++
		}
		return time.Since(begun) > time.Second && !s.Alone() && roleOf(t, replica) == "master"
	})
	t.Logf("all count together %s after the master was killed", time.Since(begun))
	for range 200 {
		if denied, err := s.Take(one(p, "u")); err == nil && denied == limit.Admitted {
			admitted++
		}
	}
	if admitted > 60 || admitted < 30 {
		t.Errorf("%d were admitted after 40 of 100, want 60", admitted)
	}
}
