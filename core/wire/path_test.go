package wire

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestC6_OneCanonicalPath(t *testing.T) {
	t.Parallel()
	both := PathOptions{EncodedSlashes: true, DoubleSlashes: true}
	for _, c := range []struct {
		raw   string
		o     PathOptions
		want  string
		flags PathFlags
	}{
		{raw: "/", want: "/"},
		{raw: "/a/b", want: "/a/b"},
		{raw: "/a/", want: "/a/"},
		{raw: "/a.b/c..d/...", want: "/a.b/c..d/...", flags: PathChanged},
		{raw: "/a%2db%7E%41", want: "/a-b~A", flags: PathChanged},
		{raw: "/a%20b%3f%23%25", want: "/a%20b%3F%23%25", flags: PathChanged},
		{raw: "/%252e%252e/a", want: "/%252e%252e/a", flags: PathChanged},
		{raw: "/a/%2e%2e/b", want: "/b", flags: PathChanged},
		{raw: "/a/./b/../c", want: "/a/c", flags: PathChanged},
		{raw: "/a/..", want: "/", flags: PathChanged},
		{raw: "/a/.", want: "/a/", flags: PathChanged},
		{raw: "/a/b/..", want: "/a/", flags: PathChanged},
		{raw: "/../../a", want: "/a", flags: PathChanged},
		{raw: "/..", want: "/", flags: PathChanged},
		{raw: "/.", want: "/", flags: PathChanged},
		{raw: "//", want: "/", flags: PathChanged | PathDoubleSlash},
		{raw: "//a///b//", want: "/a/b/", flags: PathChanged | PathDoubleSlash},
		{raw: "/a//../b", want: "/b", flags: PathChanged | PathDoubleSlash},
		{raw: "/a//../b", o: both, want: "/a/b", flags: PathChanged | PathDoubleSlash},
		{raw: "//a//b//", o: both, want: "/a//b//", flags: PathChanged | PathDoubleSlash},
		{raw: "/x/..//b", o: both, want: "/b", flags: PathChanged | PathDoubleSlash},
		{raw: "/a%2fb", o: both, want: "/a%2Fb", flags: PathChanged | PathEncodedSlash},
		{raw: "/a{b}|\"<>^`", want: "/a%7Bb%7D%7C%22%3C%3E%5E%60", flags: PathChanged},
		{raw: "/%c3%a4%E2%82%ac%f0%9f%98%80", want: "/%C3%A4%E2%82%AC%F0%9F%98%80", flags: PathChanged},
		{raw: "/a;x=1/b", want: "/a;x=1/b"},
		{raw: "/a..;x", want: "/a..;x"},
	} {
		got, flags, err := CanonicalPath(nil, []byte(c.raw), c.o)
		if err != nil || string(got) != c.want || flags != c.flags {
			t.Errorf("%q: got %q, %b, %v; want %q, %b", c.raw, got, flags, err, c.want, c.flags)
		}
	}
}

func TestC6_RefusedPaths(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]error{
		"": errPathStart, "a": errPathStart, "*": errPathStart,
		"/a\\b": errPathByte, "/a\x00": errPathByte, "/a\x80": errPathByte, "/a#b": errPathByte, "/a b": errPathByte, "/a?b": errPathByte,
		"/%": errPathEscape, "/%2": errPathEscape, "/%zz": errPathEscape, "/%2g": errPathEscape,
		"/%00": errPathControl, "/%0d%0a": errPathControl, "/%1f": errPathControl, "/%7f": errPathControl,
		"/%2f": errPathSlash, "/%5c": errPathSlash, "/a%2F..%2Fb": errPathSlash,
		"/%c0%ae": errPathText, "/%ff": errPathText, "/%c3": errPathText, "/%c3a": errPathText, "/%ed%a0%80": errPathText, "/%80": errPathText,
		"/..;/a": errPathDots, "/a/.;x": errPathDots, "/%2e%2e;x/a": errPathDots, "/..%3bx": errPathDots,
	} {
		got, _, err := CanonicalPath(nil, []byte(raw), PathOptions{})
		if !errors.Is(err, want) || got != nil {
			t.Errorf("%q: got %q, %v; want %v", raw, got, err, want)
		}
	}
	if _, _, err := CanonicalPath(nil, []byte("/a%5Cb"), PathOptions{EncodedSlashes: true}); !errors.Is(err, errPathSlash) {
		t.Errorf("an encoded backslash passed where slashes may: %v", err)
	}
}

func TestC6_RewrittenPathsAreCheckedAgain(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]error{
		"/": nil, "/a/b": nil, "/a/": nil, "/a%2Fb": nil, "/a//b": nil,
		"": errPathAway, "a": errPathAway, "//a": errPathAway, "/\\a": errPathAway,
		"/a/..": errPathUp, "/./a": errPathUp, "/a/..;x/b": errPathUp, "/a b": errPathByte, "/a?b": errPathByte, "/a\r\n": errPathByte,
	} {
		if err := CheckRewritten([]byte(path)); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%q: got %v, want %v", path, err, want)
		}
	}
}

func TestSplitTarget(t *testing.T) {
	t.Parallel()
	for target, want := range map[string][3]string{
		"/a": {"/a", "", "no"}, "/a?": {"/a", "", "yes"}, "/a?b?c": {"/a", "b?c", "yes"}, "?b": {"", "b", "yes"},
	} {
		path, query, has := SplitTarget([]byte(target))
		if string(path) != want[0] || string(query) != want[1] || has != (want[2] == "yes") {
			t.Errorf("%q: %q %q %v", target, path, query, has)
		}
	}
}

func TestC7_Hosts(t *testing.T) {
	t.Parallel()
	for host, want := range map[string][2]string{
		"": {"", ""}, "h": {"h", ""}, "API.Example.COM:8080": {"api.example.com", "8080"}, "a.b.": {"a.b", ""}, "A.": {"a", ""},
		"127.0.0.1": {"127.0.0.1", ""}, "[::1]": {"[::1]", ""}, "[FE80::A]:1": {"[fe80::a]", "1"}, "[0:0:0:0:0:0:0:1]": {"[::1]", ""}, "h:": {"h", ""}, "a_b~c": {"a_b~c", ""},
	} {
		name, port, err := CanonicalHost(nil, []byte(host))
		if err != nil || string(name) != want[0] || string(port) != want[1] {
			t.Errorf("%q: %q %q %v", host, name, port, err)
		}
	}
	for _, host := range []string{
		"h,x", "u@h", "u:p@h", "h x", "h/x", "h:x", "h:99999", "h:123456", "[::1", "[::1]x", "[::1]:x", "[1.2.3.4]", "[fe80::1%25eth0]", "[fe80::1%eth0]",
		"::1", ".a", "a..b", ".", "%41", "h\x80", "a:1:2", strings.Repeat("a", 300), ":80",
	} {
		if name, _, err := CanonicalHost(nil, []byte(host)); err == nil {
			t.Errorf("%q passed as %q", host, name)
		}
	}
}

func TestCanonicalResultsReuseBuffers(t *testing.T) {
	t.Parallel()
	room := make([]byte, 4, 64)
	path, _, err := CanonicalPath(room, []byte("/a//b"), PathOptions{})
	if err != nil || !bytes.Equal(path, room[4:8]) && &path[0] != &room[:5][4] {
		t.Errorf("the path is not in dst: %q, %v", path, err)
	}
	raw := []byte("/a/b")
	if path, _, _ = CanonicalPath(room, raw, PathOptions{}); &path[0] != &raw[0] {
		t.Error("a canonical path was copied")
	}
}
