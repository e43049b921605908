package redis

import (
	"bytes"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/apikey"
	"github.com/suuupra/gateway/core/apikey/apikeytest"
)

// shelve returns a record as it stands in Redis.
func shelve(a *APIKeys, r apikey.Record) map[string]string {
	fields, values := map[string]string{}, encodeKey(&r)
	for i, f := range keyFields {
		fields[f] = values[i]
	}
	fields[keyMACField] = a.sum(r.ID, values)
	return fields
}

func signer(t interface{ Fatal(...any) }) *APIKeys {
	a, err := NewAPIKeys(&Client{}, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// What a gateway with the same secret, but of another version or with a bug, has
// signed is checked all the same.
func TestI18_SignedRecordsThatAreBroken(t *testing.T) {
	a := signer(t)
	good := apikeytest.Record(1, apikeytest.Client(1).ID)
	for field, values := range map[string][]string{
		"revision":    {"", "x", "99999999999999999999"},
		"expires":     {"", "soon", "1.5"},
		"created":     {"-"},
		"lastUsed":    {"0x1"},
		"active":      {"", "1", "TRUE"},
		"ownerActive": {"yes"},
		"allowFrom":   {"10.0.0.1", "10.0.0.0/33,::/0", "localhost/8"},
		"versions":    {"1", "1:00:0:0", "1:" + strings.Repeat("zz", 32) + ":0:0", "x:" + strings.Repeat("00", 32) + ":0:0", "1:" + strings.Repeat("00", 32) + ":0:x"},
	} {
		for _, v := range values {
			fields := shelve(a, good)
			fields[field] = v
			signed := make([]string, len(keyFields))
			for i, f := range keyFields {
				signed[i] = fields[f]
			}
			fields[keyMACField] = a.sum(good.ID, signed)
			if got, err := a.decode(good.ID, fields); !errors.Is(err, apikey.ErrInvalid) {
				t.Errorf("%s %q: got %+v, %v", field, v, got, err)
			}
		}
	}
}

// Every record comes back as it was; with any field changed, under another id or by
// another secret it does not come back at all.
func TestI18_TheHMACCoversEverything(t *testing.T) {
	a := signer(t)
	other, err := NewAPIKeys(&Client{}, bytes.Repeat([]byte{2}, 32))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[!-~]{0,20}`)
		r := apikeytest.Record(rapid.IntRange(1, 9).Draw(t, "n"), text.Draw(t, "client"))
		r.Name, r.User, r.Policy = rapid.String().Draw(t, "name"), text.Draw(t, "user"), text.Draw(t, "policy")
		r.Revision, r.Expires = rapid.Int64Range(0, 1<<62).Draw(t, "revision"), rapid.Int64().Draw(t, "expires")
		fields := shelve(a, r)
		got, err := a.decode(r.ID, fields)
		if err != nil {
			t.Fatal(err)
		}
		want := apikey.Shelved{Found: true, Record: r, Revision: r.Revision}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
			t.Fatalf("(-want +got)\n%s", d)
		}
		changed := maps.Clone(fields)
		field := rapid.SampledFrom(append(keyFields[:], keyMACField)).Draw(t, "field")
		changed[field] += rapid.SampledFrom([]string{" ", "0", ",", "\x00"}).Draw(t, "more")
		for what, try := range map[string]func() error{
			"a changed " + field: func() error { _, err := a.decode(r.ID, changed); return err },
			"another id":         func() error { _, err := a.decode("Other00000000000", fields); return err },
			"another secret":     func() error { _, err := other.decode(r.ID, fields); return err },
			"a missing " + field: func() error {
				missing := maps.Clone(fields)
				if delete(missing, field); fields[field] == "" {
					return apikey.ErrInvalid // the same, as Redis has it
				}
				_, err := a.decode(r.ID, missing)
				return err
			},
		} {
			if err := try(); !errors.Is(err, apikey.ErrInvalid) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	})
}
