package main

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/background"
	"github.com/suuupra/gateway/core/config"
	"github.com/suuupra/gateway/core/meter"
	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
)

// TestI4_RedisThatEvictsIsRefused starts nothing over a Redis that would forget
// revocations, and says how to change it.
func TestI4_RedisThatEvictsIsRefused(t *testing.T) {
	t.Parallel()
	for policy, refused := range map[string]bool{"allkeys-lru": true, "volatile-lru": false} {
		server := testenv.NewRedis(t, "--maxmemory-policy", policy)
		text := "directory: " + filepath.Join(t.TempDir(), "state") + "\nstores: {redis: {addresses: \"" + server.Address() + "\"}}\nidentity: {audience: a}\n" +
			"services: {a: {endpoints: [{url: \"http://127.0.0.1:9001\"}]}}\nroutes: {a: {match: {path: /a}, service: a}}\n"
		cfg, report := config.Load(config.LoadOptions{
			Files: []string{"gateway.yaml"}, ReadFile: func(string) ([]byte, error) { return []byte(text), nil }, Plugins: []string{"auth"},
		})
		if cfg == nil {
			t.Fatal(report.Err())
		}
		i, err := openIdentity(cfg, meter.NewSet(time.Now), zerolog.Nop(), background.New())
		if errors.Is(err, redis.ErrEvicts) != refused || (err == nil) == refused {
			t.Errorf("%s: %v", policy, err)
		}
		if err == nil {
			i.close()
		}
	}
}
