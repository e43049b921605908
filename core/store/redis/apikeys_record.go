package redis

import (
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/suuupra/gateway/core/apikey"
)

// The fields that are not the record's own.
const (
	keyRevisionField = "revision"
	keyGoneField     = "gone"
	keyMACField      = "hmac"
)

// keyFields are the fields of a record, in the order of their HMAC. Names are
// those of SPEC AK2 where it has one.
var keyFields = [...]string{
	keyRevisionField, "name", "clientId", "userId", "scopes", "policy", "allowFrom", "expires", "active", "versions", "created", "lastUsed",
	"ownerActive", "ownerScopes", "ownerPolicy",
}

// keyTombstone is what the HMAC of a tombstone is of.
func keyTombstone(revision string) []string { return []string{keyGoneField, revision} }

// encodeKey returns the values of keyFields. Lists are joined by what their members
// can't hold.
func encodeKey(r *apikey.Record) []string {
	from := make([]string, len(r.AllowFrom))
	for i, p := range r.AllowFrom {
		from[i] = p.String()
	}
	versions := make([]string, len(r.Versions))
	for i, v := range r.Versions {
		versions[i] = fmt.Sprintf("%d:%s:%d:%d", v.Number, hex.EncodeToString(v.Hash[:]), v.Created, v.Until)
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{
		keyRevision(r.Revision), r.Name, r.Client, r.User, strings.Join(r.Scopes, " "), r.Policy, strings.Join(from, ","),
		number(r.Expires), strconv.FormatBool(r.Active), strings.Join(versions, ","), number(r.Created), number(r.LastUsed),
		strconv.FormatBool(r.Owner.Active), strings.Join(r.Owner.Scopes, " "), r.Owner.Policy,
	}
}

// decode reads what is under id, once its HMAC is right. Errors wrap apikey.ErrInvalid.
func (a *APIKeys) decode(id string, fields map[string]string) (apikey.Shelved, error) {
	invalid := func(what string) (apikey.Shelved, error) {
		return apikey.Shelved{}, fmt.Errorf("%s%s: %w: %s", apiKeyPrefix, id, apikey.ErrInvalid, what)
	}
	values := make([]string, 0, len(keyFields))
	if _, gone := fields[keyGoneField]; gone {
		values = keyTombstone(fields[keyRevisionField])
	} else {
		for _, f := range keyFields {
			values = append(values, fields[f])
		}
	}
	if subtle.ConstantTimeCompare([]byte(fields[keyMACField]), []byte(a.sum(id, values))) != 1 {
		return invalid("its HMAC is wrong")
	}
	revision, err := strconv.ParseInt(fields[keyRevisionField], 10, 64)
	if err != nil {
		return invalid("its revision is no number")
	}
	if _, gone := fields[keyGoneField]; gone {
		return apikey.Shelved{Revision: revision}, nil
	}
	r, err := decodeKey(fields)
	if err != nil {
		return invalid(err.Error())
	}
	r.ID, r.Revision = id, revision
	return apikey.Shelved{Found: true, Record: r, Revision: revision}, nil
}

// keyReader reads values until one is wrong.
type keyReader struct{ err error }

func (d *keyReader) number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("%.32q is no number", s)
	}
	return n
}

func (d *keyReader) bool(s string) bool {
	if s != "true" && s != "false" && d.err == nil {
		d.err = fmt.Errorf("%.32q is neither true nor false", s)
	}
	return s == "true"
}

func (d *keyReader) prefix(s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("%.64q is no prefix", s)
	}
	return p
}

func (d *keyReader) version(s string) (v apikey.Version) {
	parts := strings.Split(s, ":")
	if len(parts) != 4 || hex.DecodedLen(len(parts[1])) != len(v.Hash) {
		if d.err == nil {
			d.err = fmt.Errorf("a version has %d parts, or a hash of another length", len(parts))
		}
		return v
	}
	if _, err := hex.Decode(v.Hash[:], []byte(parts[1])); err != nil && d.err == nil {
		d.err = fmt.Errorf("a hash is not hexadecimal")
	}
	v.Number, v.Created, v.Until = int(d.number(parts[0])), d.number(parts[2]), d.number(parts[3])
	return v
}

// decodeKey reads the fields of a record.
func decodeKey(f map[string]string) (apikey.Record, error) {
	d := new(keyReader)
	r := apikey.Record{
		Name: f["name"], Client: f["clientId"], User: f["userId"], Policy: f["policy"],
		Scopes: strings.Fields(f["scopes"]), Expires: d.number(f["expires"]), Active: d.bool(f["active"]),
		Created: d.number(f["created"]), LastUsed: d.number(f["lastUsed"]),
		Owner: apikey.Owner{Active: d.bool(f["ownerActive"]), Scopes: strings.Fields(f["ownerScopes"]), Policy: f["ownerPolicy"]},
	}
	for _, s := range strings.FieldsFunc(f["allowFrom"], func(c rune) bool { return c == ',' }) {
		r.AllowFrom = append(r.AllowFrom, d.prefix(s))
	}
	for _, s := range strings.FieldsFunc(f["versions"], func(c rune) bool { return c == ',' }) {
		r.Versions = append(r.Versions, d.version(s))
	}
	return r, d.err
}
