package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"
)

// Mode is how the servers stand to each other.
type Mode string

// The modes.
const (
	Single   Mode = "single"   // one server; also the default
	Sentinel Mode = "sentinel" // Addresses are those of the sentinels
	Cluster  Mode = "cluster"  // Addresses are some of its nodes
)

const (
	lookEvery  = 500 * time.Millisecond // how soon a lost server is seen, and one that came back
	dialWithin = time.Second
	buffer     = 32 << 10 // bytes, each way of each connection: the library's own half MiB is for bulk
	ring       = 9        // 2^9 commands may wait on a connection
	leastWait  = 200 * time.Millisecond
	topology   = 5 * time.Second // a missed word of a sentinel sticks without it
)

// Options are what Open needs.
type Options struct {
	Addresses          []string // host:port
	Mode               Mode
	Master             string // in mode sentinel: what it calls the master; default mymaster
	Prefix             string // stands before every key
	Username, Password string
	TLS                *tls.Config // nil: without
	Purpose            string      // for CLIENT LIST, as "gateway-" and this; one client for each purpose
	// Timeout is after how long a server that does not answer is taken for gone; default
	// one second. Whoever can't wait that long gives a command a context of its own.
	Timeout time.Duration
	Log     zerolog.Logger
}

// Client speaks with Redis for one purpose. It may be used concurrently.
type Client struct {
	prefix  string
	log     zerolog.Logger
	connect func() (rueidis.Client, error)
	options Options // for those who need a connection of their own kind

	raw       atomic.Pointer[rueidis.Client] // written by Open and look
	connected bool                           // raw is a real one; of Open, then of look
	healthy   atomic.Bool                    // written by look, twice a second
	stop      context.CancelFunc
	stopped   sync.WaitGroup
}

// Open makes the client. The servers need not be there yet: until they are, every
// command fails. It fails on options that can't work. Until Close, a goroutine looks
// after the connection; ctx is not needed after Open.
func Open(ctx context.Context, o Options) (*Client, error) {
	if len(o.Addresses) == 0 {
		return nil, errors.New("redis: no address")
	}
	o.Timeout = max(o.Timeout, leastWait)
	c := &Client{prefix: o.Prefix, options: o, log: o.Log.With().Str("store", "redis").Logger()}
	c.connect = func() (rueidis.Client, error) { return rueidis.NewClient(option(o)) }
	raw, err := c.connect()
	if c.connected = raw != nil; !c.connected { // sentinel and cluster: the library gives none while nobody answers
		if raw, err = away(err); raw == nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
	}
	c.raw.Store(&raw)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	c.see(c.ping(ctx))
	c.stopped.Go(func() { c.look(background) })
	return c, nil
}

// option are the library's settings. Retries of its own are off: who asks knows
// whether it may be asked twice, and a command fails at once while nobody is there.
func option(o Options) rueidis.ClientOption {
	wait := o.Timeout
	r := rueidis.ClientOption{
		InitAddress:         o.Addresses,
		Username:            o.Username,
		Password:            o.Password,
		ClientName:          "gateway-" + o.Purpose,
		TLSConfig:           o.TLS,
		Dialer:              net.Dialer{Timeout: dialWithin, KeepAlive: wait},
		ConnWriteTimeout:    wait,
		ReadBufferEachConn:  buffer,
		WriteBufferEachConn: buffer,
		RingScaleEachConn:   ring,
		PipelineMultiplex:   -1, // one connection: what is said on it is said in order
		DisableRetry:        true,
		DisableCache:        true, // who caches holds a tracked connection of its own
	}
	if o.Purpose == "" {
		r.ClientName = "gateway"
	}
	switch o.Mode {
	case Sentinel:
		r.Sentinel = rueidis.SentinelOption{MasterSet: o.Master, TLSConfig: o.TLS, Dialer: r.Dialer, TopologyRefreshInterval: topology}
		if o.Master == "" {
			r.Sentinel.MasterSet = "mymaster"
		}
	case Cluster:
		r.ClusterOption.ShardsRefreshInterval = topology
	default:
		r.ForceSingleClient = true
	}
	return r
}

// away is a client that fails every command, with what kept the real one from being made.
func away(cause error) (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{
		InitAddress:       []string{"away"},
		ForceSingleClient: true,
		DisableRetry:      true,
		DisableCache:      true,
		PipelineMultiplex: -1,
		RingScaleEachConn: 1,
		DialCtxFn: func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			return nil, fmt.Errorf("not connected: %w", cause)
		},
	})
}

// Close lets what is under way end and closes all connections.
func (c *Client) Close() {
	c.stop()
	c.stopped.Wait()
	c.Raw().Close()
}

// Healthy says whether the server answered when it was asked last, half a second ago
// or less.
func (c *Client) Healthy() bool { return c.healthy.Load() }

// Raw is the library's client. Take it anew for each operation, and once: it is
// replaced when the servers of a cluster are met for the first time, and a command
// that one of them built must not be given to the other.
func (c *Client) Raw() rueidis.Client { return *c.raw.Load() }

// look asks the server at intervals whether it is there, until ctx is done.
func (c *Client) look(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !c.connected {
			raw, err := c.connect()
			if err != nil {
				continue
			}
			old := c.raw.Swap(&raw)
			(*old).Close()
			c.connected = true
		}
		if err := c.ping(ctx); ctx.Err() == nil {
			c.see(err)
		}
	}
}

func (c *Client) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	raw := c.Raw()
	return raw.Do(ctx, raw.B().Ping().Build()).Error()
}

// see notes how the server was found, and tells of a change.
func (c *Client) see(err error) {
	was := c.healthy.Swap(err == nil)
	switch {
	case err == nil && !was:
		c.log.Info().Msg("Redis answers")
	case err != nil && was:
		c.log.Warn().Err(err).Msg("Redis does not answer")
	}
}
