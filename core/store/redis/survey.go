package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// Server is what one server says of itself.
type Server struct {
	Address string // host:port
	Version string // of Redis; Valkey says the one that it is compatible with
	// Policy is its maxmemory-policy, Maximum and Used are bytes; Maximum 0: no bound.
	Policy        string
	Maximum, Used int64
	Master        bool
	// Linked says that a replica is in touch with its master.
	Linked   bool
	Replicas int    // that a master has
	Cluster  string // cluster_state: "ok" or "fail"; empty without a cluster
	Skew     time.Duration
}

// Survey asks each server that the client knows what it is, for operators: in mode
// sentinel the master, in a cluster all nodes. Skew is how far a server's clock is
// ahead of this machine's, as exact as the way there is short. The first server that
// does not answer, or forbids INFO, is an error.
func (c *Client) Survey(ctx context.Context) ([]Server, error) {
	var out []Server
	for address, node := range c.Raw().Nodes() {
		s := Server{Address: address}
		if err := s.ask(ctx, node); err != nil {
			return nil, fmt.Errorf("asking Redis at %s what it is: %w", address, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func (s *Server) ask(ctx context.Context, node rueidis.Client) error {
	text, err := node.Do(ctx, node.B().Info().Build()).ToString()
	if err != nil {
		return err
	}
	info := fields(text)
	s.Version, s.Policy = info["redis_version"], info["maxmemory_policy"]
	s.Maximum, s.Used = number(info["maxmemory"]), number(info["used_memory"])
	s.Master, s.Linked = info["role"] == "master", info["master_link_status"] == "up"
	s.Replicas = int(number(info["connected_slaves"]))
	if info["cluster_enabled"] == "1" {
		text, err := node.Do(ctx, node.B().ClusterInfo().Build()).ToString()
		if err != nil {
			return err
		}
		s.Cluster = fields(text)["cluster_state"]
	}
	return s.compareClock(ctx, node)
}

// compareClock assumes that the answer took as long as the question.
func (s *Server) compareClock(ctx context.Context, node rueidis.Client) error {
	asked := time.Now()
	parts, err := node.Do(ctx, node.B().Time().Build()).AsStrSlice()
	if err != nil {
		return err
	}
	if len(parts) == 2 {
		theirs := time.Unix(number(parts[0]), number(parts[1])*int64(time.Microsecond))
		s.Skew = theirs.Sub(asked.Add(time.Since(asked) / 2))
	}
	return nil
}

// fields reads the lines name:value of INFO. In RESP3 the first begins with its format.
func fields(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(strings.TrimPrefix(text, "txt:")) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			out[name] = value
		}
	}
	return out
}

// number is 0 for what is none: a server of another kind may leave a line out.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
