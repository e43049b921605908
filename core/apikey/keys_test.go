package apikey_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rs/zerolog"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/apikey/apikeytest"
	"github.com/suuupra/gateway/core/principal"
)

func scopes(t *testing.T, list ...string) principal.Scopes {
	s, err := principal.NewScopes(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAK2_WhatAKeySaysOfItsHolder(t *testing.T) {
	r := newRig(t, nil)
	client := apikeytest.Client(1)
	office := netip.MustParsePrefix("203.0.113.77/24")
	for name, c := range map[string]struct {
		made apikey.NewKey
		want apikey.Key
	}{
		"of a client, which caps it": {
			apikey.NewKey{Name: "ci", Client: client.ID, Scopes: []string{"courses:read", "payments"}},
			apikey.Key{Name: "ci", Version: 1, Principal: principal.Principal{Client: client.ID, Policy: "premium", Scopes: scopes(t, "courses:read"), Shown: principal.Key}},
		},
		"with all": {
			apikey.NewKey{Name: "ci", Client: client.ID, User: "u-1", Scopes: []string{"*"}, Policy: "standard", AllowFrom: []netip.Prefix{office}, Expires: now.Add(time.Hour)},
			apikey.Key{Name: "ci", Version: 1, AllowFrom: []netip.Prefix{office.Masked()}, Expires: now.Unix() + 3600,
				Principal: principal.Principal{Client: client.ID, User: "u-1", Policy: "standard", Scopes: scopes(t, "courses", "vod"), Shown: principal.Key}},
		},
		"of a user, whom nothing caps": {
			apikey.NewKey{User: "u-1", Scopes: []string{"payments"}},
			apikey.Key{Version: 1, Principal: principal.Principal{User: "u-1", Scopes: scopes(t, "payments"), Shown: principal.Key}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			secret, made := r.create(c.made)
			got, err := r.Check([]byte(secret), anywhere)
			if err != nil {
				t.Fatal(err)
			}
			c.want.Principal.Key = secret[3:19]
			for _, k := range []apikey.Key{*got, made} {
				if d := cmp.Diff(c.want, k, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
					t.Fatalf("(-want +got)\n%s", d)
				}
			}
		})
	}
}

func TestKeysThatCanNotBeCreated(t *testing.T) {
	r := newRig(t, nil)
	client := apikeytest.Client(1).ID
	for name, c := range map[string]struct {
		made apikey.NewKey
		want error
	}{
		"nobody's":       {apikey.NewKey{}, apikey.ErrInvalid},
		"expired":        {apikey.NewKey{Client: client, Expires: now}, apikey.ErrInvalid},
		"bad scope":      {apikey.NewKey{Client: client, Scopes: []string{"a b"}}, apikey.ErrInvalid},
		"bad prefix":     {apikey.NewKey{Client: client, AllowFrom: make([]netip.Prefix, 1)}, apikey.ErrInvalid},
		"unknown client": {apikey.NewKey{Client: "x"}, apikey.ErrNoClient},
	} {
		if secret, _, err := r.Create(t.Context(), c.made); secret != "" || !errors.Is(err, c.want) {
			t.Errorf("%s: got %q, %v", name, secret, err)
		}
	}
	all, err := r.List(t.Context())
	if err != nil || len(all) != 0 {
		t.Fatalf("%d keys, %v", len(all), err)
	}
}

func TestAK2_WhyAKeyIsRefused(t *testing.T) {
	r := newRig(t, nil)
	expiring, _ := r.create(apikey.NewKey{Expires: now.Add(time.Minute)})
	office, _ := r.create(apikey.NewKey{AllowFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}})
	revoked, key := r.create(apikey.NewKey{})
	if err := r.Revoke(t.Context(), key.Principal.Key); err != nil {
		t.Fatal(err)
	}
	if err := r.Revoke(t.Context(), key.Principal.Key); err != nil {
		t.Fatalf("twice: %v", err)
	}
	r.wants(expiring, nil)
	r.clock.Advance(time.Minute - time.Second)
	r.wants(expiring, nil)
	r.clock.Advance(time.Second)
	r.wants(expiring, apikey.ErrExpired)
	r.wants(revoked, apikey.ErrInactive)
	r.wants(keyOf(expiring[3:19], revoked[20:63]), apikey.ErrUnknown) // another key's secret
	r.wants(keyOf("0000000000000000", revoked[20:63]), apikey.ErrUnknown)
	for from, want := range map[string]error{
		"192.0.2.255": nil, "192.0.3.0": apikey.ErrAddress, "::ffff:192.0.2.1": nil, "2001:db8:1::1": nil,
		"2001:db8::1%eth0": nil, "2001:db9::1": apikey.ErrAddress, "::c000:201": apikey.ErrAddress,
	} {
		if _, err := r.Check([]byte(office), netip.MustParseAddr(from)); !errors.Is(err, want) {
			t.Errorf("from %s: %v, want %v", from, err, want)
		}
	}
	if _, err := r.Check([]byte(office), netip.Addr{}); !errors.Is(err, apikey.ErrAddress) {
		t.Errorf("from nowhere: %v", err)
	}
	for reason, want := range map[string]uint64{"malformed": 0, "unknown": 2, "inactive": 1, "expired": 1, "address": 4, "unavailable": 0} {
		if got := r.refused(reason); got != want {
			t.Errorf("%d refusals are counted as %s, want %d", got, reason, want)
		}
	}
}

func TestAK2_AClientThatIsOffTakesItsKeysAlong(t *testing.T) {
	r := newRig(t, nil)
	r.run()
	clients := apikey.NewClients(r.store, r.clock)
	secret, client, err := clients.Create(t.Context(), apikey.NewClient{Name: "shop", Scopes: []string{"courses"}})
	if err != nil || len(secret) != 43 {
		t.Fatalf("secret of %d characters, %v", len(secret), err)
	}
	mine, _ := r.create(apikey.NewKey{Client: client.ID})
	other, _ := r.create(apikey.NewKey{})
	r.wants(mine, nil)
	if err := clients.Disable(t.Context(), client.ID); err != nil {
		t.Fatal(err)
	}
	r.eventually("its key is refused", func() bool { _, err := r.Check([]byte(mine), anywhere); return errors.Is(err, apikey.ErrInactive) })
	r.wants(other, nil)
	if err := clients.Enable(t.Context(), client.ID); err != nil {
		t.Fatal(err)
	}
	r.eventually("its key is good again", func() bool { _, err := r.Check([]byte(mine), anywhere); return err == nil })
	all, err := clients.List(t.Context())
	if err != nil || len(all) != 2 || all[1].Name != "shop" || strings.Contains(fmt.Sprintf("%+v", all), secret) {
		t.Fatalf("clients %+v, %v", all, err)
	}
	if !strings.HasPrefix(all[1].SecretHash, "$2a$") {
		t.Fatalf("hash %q", all[1].SecretHash)
	}
	for _, err := range []error{clients.Disable(t.Context(), "x"), clients.Enable(t.Context(), "")} {
		if !errors.Is(err, apikey.ErrNoClient) {
			t.Error(err)
		}
	}
	if _, _, err := clients.Create(t.Context(), apikey.NewClient{}); !errors.Is(err, apikey.ErrInvalid) {
		t.Error(err)
	}
}

func TestAK3_RotationOverlaps(t *testing.T) {
	r := newRig(t, nil)
	first, key := r.create(apikey.NewKey{})
	id := key.Principal.Key
	r.wants(first, nil)
	second, err := r.Rotate(t.Context(), id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	version := func(secret string) int {
		t.Helper()
		k, err := r.Check([]byte(secret), anywhere)
		if err != nil {
			t.Fatal(err)
		}
		return k.Version
	}
	if a, b := version(first), version(second); a != 1 || b != 2 {
		t.Fatalf("versions %d and %d, want 1 and 2", a, b)
	}
	if _, err := r.Rotate(t.Context(), id, time.Minute); !errors.Is(err, apikey.ErrRotating) {
		t.Fatalf("during the overlap: %v", err)
	}
	r.clock.Advance(time.Hour)
	r.wants(first, apikey.ErrExpired)
	third, err := r.Rotate(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.wants(second, apikey.ErrExpired)
	if v := version(third); v != 3 {
		t.Fatalf("version %d", v)
	}
	fourth, err := r.Rotate(t.Context(), id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	fifth, err := r.Rotate(t.Context(), id, 0) // the fourth has leaked: no waiting for its overlap
	if err != nil {
		t.Fatal(err)
	}
	r.wants(first, apikey.ErrUnknown) // four versions are remembered
	for _, old := range []string{second, third, fourth} {
		r.wants(old, apikey.ErrExpired)
	}
	if v := version(fifth); v != 5 {
		t.Fatalf("version %d", v)
	}
}

func TestAK3_WhatCanNotBeRotated(t *testing.T) {
	r := newRig(t, nil)
	_, gone := r.create(apikey.NewKey{Expires: now.Add(time.Second)})
	_, off := r.create(apikey.NewKey{})
	_, fine := r.create(apikey.NewKey{})
	r.clock.Advance(time.Second)
	if err := r.Revoke(t.Context(), off.Principal.Key); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id      string
		overlap time.Duration
		want    error
	}{
		"expired":  {gone.Principal.Key, time.Hour, apikey.ErrExpired},
		"revoked":  {off.Principal.Key, time.Hour, apikey.ErrInactive},
		"unknown":  {"0000000000000000", time.Hour, apikey.ErrUnknown},
		"no id":    {"'; drop table", time.Hour, apikey.ErrUnknown},
		"negative": {fine.Principal.Key, -1, apikey.ErrInvalid},
		"for ever": {fine.Principal.Key, 10000 * time.Hour, apikey.ErrInvalid},
	} {
		if secret, err := r.Rotate(t.Context(), c.id, c.overlap); secret != "" || !errors.Is(err, c.want) {
			t.Errorf("%s: %q, %v", name, secret, err)
		}
	}
	if err := r.Revoke(t.Context(), "0000000000000000"); !errors.Is(err, apikey.ErrUnknown) {
		t.Error(err)
	}
}

// Fifty who rotate at one time get one secret between them, and the others hear why.
func TestAK3_OfConcurrentRotationsOneWins(t *testing.T) {
	r := newRig(t, nil)
	first, key := r.create(apikey.NewKey{})
	secrets, errs := make([]string, 50), make([]error, 50)
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			<-begin
			secrets[i], errs[i] = r.Rotate(context.Background(), key.Principal.Key, time.Hour)
		})
	}
	close(begin)
	all.Wait()
	won := ""
	for i, err := range errs {
		switch {
		case err == nil && won == "":
			won = secrets[i]
		case !errors.Is(err, apikey.ErrConflict) && !errors.Is(err, apikey.ErrRotating):
			t.Errorf("caller %d: %v", i, err)
		}
	}
	r.wants(won, nil)
	r.wants(first, nil)
	kept, err := r.store.Load(t.Context(), key.Principal.Key)
	if err != nil || len(kept.Versions) != 2 {
		t.Fatalf("%d versions, %v", len(kept.Versions), err)
	}
}

// A revocation wins against those who change the key all the time.
func TestRevocationWinsAgainstRotations(t *testing.T) {
	r := newRig(t, nil)
	_, key := r.create(apikey.NewKey{})
	id, overtaken := key.Principal.Key, 0
	r.store.onLoad(func(*apikey.Record, *error) {
		if overtaken < 5 {
			overtaken++
			now, _ := r.store.Memory.Load(context.Background(), id)
			now.Revision++
			_ = r.store.Update(context.Background(), now)
		}
	})
	if err := r.Revoke(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	kept, err := r.store.Memory.Load(t.Context(), id)
	if err != nil || kept.Active || overtaken != 5 {
		t.Fatalf("active %v after %d rotations, %v", kept.Active, overtaken, err)
	}
}

func TestAK1_NoSecretIsKeptOrShown(t *testing.T) {
	var log strings.Builder
	r := newRig(t, nil)
	keys := apikey.New(apikey.Options{Store: r.store, Clock: r.clock, Meter: r.meter, Log: zerolog.New(&log)})
	secret, key := r.create(apikey.NewKey{Name: "n"})
	rotated, err := r.Rotate(t.Context(), key.Principal.Key, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	r.store.onLoad(func(k *apikey.Record, _ *error) { k.Policy = "\x00" })
	_, broken := keys.Check([]byte(secret), anywhere)
	if !errors.Is(broken, apikey.ErrUnavailable) {
		t.Fatal(broken)
	}
	r.store.onLoad(nil)
	kept, _ := r.store.Load(t.Context(), key.Principal.Key)
	text, err := json.Marshal(kept)
	if err != nil {
		t.Fatal(err)
	}
	var metrics strings.Builder
	r.meter.WritePrometheus(&metrics)
	all := log.String() + broken.Error() + string(text) + fmt.Sprintf("%+v %+v", kept, key) + metrics.String()
	for _, s := range []string{secret, rotated} {
		if strings.Contains(all, s[20:40]) || strings.Contains(all, s[40:63]) {
			t.Fatalf("a secret is shown in\n%s", all)
		}
	}
	if !strings.Contains(log.String(), key.Principal.Key) {
		t.Fatalf("the log does not say which key is broken: %s", log.String())
	}
}

func TestUsageOfNothing(t *testing.T) {
	r := newRig(t, nil)
	_, key := r.create(apikey.NewKey{})
	if _, err := r.Usage(t.Context(), key.Principal.Key, now, now); !errors.Is(err, apikey.ErrInvalid) {
		t.Error(err)
	}
	if _, err := r.Usage(t.Context(), "0000000000000000", now, now.Add(1)); !errors.Is(err, apikey.ErrUnknown) {
		t.Error(err)
	}
	rows, err := r.Usage(t.Context(), key.Principal.Key, now, now.Add(time.Hour))
	if err != nil || len(rows) != 0 {
		t.Error(rows, err)
	}
}

// Every call says that the store is away, whichever it is.
func TestStoreAwayIsSaid(t *testing.T) {
	r := newRig(t, nil)
	_, key := r.create(apikey.NewKey{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	clients := apikey.NewClients(r.store, r.clock)
	_, _, created := r.Create(ctx, apikey.NewKey{User: "u"})
	_, rotated := r.Rotate(ctx, key.Principal.Key, 0)
	_, listed := r.List(ctx)
	_, used := r.Usage(ctx, key.Principal.Key, now, now.Add(1))
	_, _, made := clients.Create(ctx, apikey.NewClient{Name: "n"})
	_, clientsListed := clients.List(ctx)
	for what, err := range map[string]error{
		"create": created, "rotate": rotated, "list": listed, "usage": used, "revoke": r.Revoke(ctx, key.Principal.Key),
		"client create": made, "client list": clientsListed, "client disable": clients.Disable(ctx, apikeytest.Client(1).ID),
	} {
		if !errors.Is(err, apikey.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
