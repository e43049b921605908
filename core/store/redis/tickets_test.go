package redis_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/store/redis"
	"github.com/suuupra/gateway/core/testenv"
	"github.com/suuupra/gateway/core/ticket"
	"github.com/suuupra/gateway/core/ticket/tickettest"
)

func ticketsOf(t *testing.T, server *testenv.RedisServer, prefix string) *redis.Tickets {
	t.Helper()
	c, err := redis.Open(t.Context(), redis.Options{Addresses: []string{server.Address()}, Prefix: prefix, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return redis.NewTickets(c)
}

func TestTickets(t *testing.T) {
	server := testenv.Redis(t)
	tickettest.TestStore(t, func(t *testing.T) ticket.Store { return ticketsOf(t, server, prefixOf(t)) })
}

func TestID10_TicketsExpireInRedis(t *testing.T) {
	t.Parallel()
	server := testenv.Redis(t)
	s := ticketsOf(t, server, prefixOf(t))
	if err := s.Put(t.Context(), "{a}:b", []byte("x"), 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !strings.HasPrefix(server.Do(t, "EXISTS", prefixOf(t)+"ticket:%7Ba%7D%3Ab"), ":0") {
		if time.Now().After(deadline) {
			t.Fatal("it lives on")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got, err := s.Take(t.Context(), "{a}:b"); got != nil || err != nil {
		t.Errorf("%q %v", got, err)
	}
}

func TestID10_TicketsWithoutRedis(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	s := ticketsOf(t, server, "")
	server.Do(t, "HSET", "ticket:garbage", "a", "b")
	if _, err := s.Take(t.Context(), "garbage"); !errors.Is(err, ticket.ErrUnavailable) {
		t.Errorf("garbage: %v", err)
	}
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Put(ctx, "k", []byte("x"), time.Second); !errors.Is(err, ticket.ErrUnavailable) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Take(ctx, "k"); !errors.Is(err, ticket.ErrUnavailable) {
		t.Errorf("take: %v", err)
	}
}
