package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/clock"
	"github.com/suuupra/gateway/core/store/postgres"
	"github.com/suuupra/gateway/core/testenv"
	"github.com/suuupra/gateway/core/token"
	"github.com/suuupra/gateway/core/token/tokentest"
)

// signingKeysAt opens a database as one more gateway does.
func signingKeysAt(t *testing.T, url string) (*postgres.DB, *postgres.SigningKeys) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{URL: url, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db, postgres.NewSigningKeys(db)
}

func TestSigningKeys(t *testing.T) {
	tokentest.TestKeyStore(t, func(t *testing.T) func() token.KeyStore {
		url := testenv.Postgres(t)
		_, first := signingKeysAt(t, url)
		_, second := signingKeysAt(t, url)
		turn := 0
		gateways := []token.KeyStore{first, second}
		next := make(chan token.KeyStore, 1)
		next <- gateways[0]
		return func() token.KeyStore { // each call another gateway, whoever calls
			s := <-next
			turn++
			next <- gateways[turn%2]
			return s
		}
	})
}

// Two gateways over one database: what one of them drops the other refuses, pushed
// by the database alone.
func TestI17_CompromisedKeyIsPushedThroughPostgres(t *testing.T) {
	url := testenv.Postgres(t)
	c := clock.NewFake(time.Now()) // stands: nothing is polled
	open := func() (*postgres.DB, *token.Keys) {
		db, store := signingKeysAt(t, url)
		keys, err := token.OpenKeys(t.Context(), token.KeysOptions{
			Store: store, EncryptionKey: bytes.Repeat([]byte("k"), 32), PublishAhead: time.Hour, Longest: time.Hour, Clock: c, Log: zerolog.Nop(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return db, keys
	}
	_, a := open()
	db, b := open()
	ctx, cancel := context.WithCancel(context.Background())
	listening, done := make(chan struct{}, 100), make(chan struct{}, 2)
	go func() {
		db.Listen(ctx, postgres.SigningKeysChannel, func(string) { b.Nudge(); listening <- struct{}{} })
		done <- struct{}{}
	}()
	go func() { b.Run(ctx); done <- struct{}{} }()
	t.Cleanup(func() { cancel(); <-done; <-done })
	<-listening
	kid := a.List()[0].ID
	if b.List()[0].ID != kid {
		t.Fatal("the two gateways sign with different keys")
	}
	if _, err := a.Rotate(t.Context(), kid); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); b.List()[0].ID == kid; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the other gateway still signs with the dropped key")
		}
	}
	if strings.Contains(string(b.JWKS()), kid) {
		t.Error("the dropped key is published still")
	}
}

func TestSigningKeysInTheDatabaseAreEncrypted(t *testing.T) {
	_, store := signingKeysAt(t, testenv.Postgres(t))
	_, err := token.OpenKeys(t.Context(), token.KeysOptions{
		Store: store, EncryptionKey: bytes.Repeat([]byte("k"), 32), PublishAhead: time.Hour, Longest: time.Hour, Clock: clock.Real(), Log: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := store.Load(t.Context())
	if err != nil || len(keys) != 3 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, k := range keys {
		if bytes.Contains(k.Sealed, []byte("\x2a\x86\x48")) { // of the OIDs of all keys in PKCS #8
			t.Errorf("the %s key is in clear", k.Purpose)
		}
	}
}

func TestSigningKeysWithTheServerAway(t *testing.T) {
	server := testenv.NewPostgres(t)
	_, store := signingKeysAt(t, server.Database(t))
	add := func(keys []token.StoredKey) ([]token.StoredKey, error) {
		return append(keys, tokentest.Example("a", token.ForAccess)), nil
	}
	if err := store.Update(t.Context(), add); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if _, err := store.Load(t.Context()); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("Load: %v", err)
	}
	if err := store.Update(t.Context(), add); !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("Update: %v", err)
	}
	server.Start()
	var keys []token.StoredKey
	err := errors.New("not tried")
	for deadline := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(deadline); {
		keys, err = store.Load(t.Context())
	}
	if err != nil || len(keys) != 1 {
		t.Errorf("after its return: %d keys, %v", len(keys), err)
	}
}

func TestSigningKeysWithoutTables(t *testing.T) {
	url := testenv.Postgres(t)
	for {
		steps, err := postgres.Migrate(t.Context(), url, postgres.Down)
		if err != nil {
			t.Fatal(err)
		}
		if len(steps) == 0 {
			break
		}
	}
	_, store := signingKeysAt(t, url)
	_, err := store.Load(t.Context())
	if err == nil || errors.Is(err, token.ErrUnavailable) || !strings.Contains(err.Error(), "gateway migrate up") {
		t.Errorf("error %v; want one that says what to do", err)
	}
}
