package router

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/suuupra/gateway/core/wire"
)

// TestPatternsSpeakCanonically: a literal pattern is what a canonical path is, so
// that a route written as clients write the path matches what they send.
func TestPatternsSpeakCanonically(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{
		"a", "Z", "0", "-", ".", "_", "~", "!", "$", "&", "'", "(", ")", "+", ",", ";", "=", "@", "*", ":",
		"%41", "%2e", "%7E", "%2f", "%3B", "%7c", "%20", "%c3%a9", "%C3%A9", "%25", "%252e", "%5c", "%00", "%ff", "%c0%af", "%",
		"|", "\"", "{", "[", "\\", "#", " ", "/", "é",
	})
	rapid.Check(t, func(t *rapid.T) {
		raw := "/x" + strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), "")
		path, _, err := wire.CanonicalPath(nil, []byte(raw), wire.PathOptions{EncodedSlashes: true})
		if err != nil {
			// What is refused on the wire is no pattern either, but for what only a
			// pattern may hold raw.
			if p, err := ParsePattern(raw); err == nil && !strings.Contains(raw, "é") {
				t.Fatalf("%q is refused, but the pattern %s is not", raw, p)
			}
			return
		}
		for _, segment := range strings.Split(string(path), "/") {
			if segment == "*" || segment == "**" || strings.HasPrefix(segment, ":") {
				return // refused, for its writer would mean something else
			}
		}
		p, err := ParsePattern(string(path))
		if err != nil || p.String() != string(path) {
			t.Fatalf("%q is canonically %q, and as a pattern %s, %v", raw, path, p, err)
		}
	})
}
