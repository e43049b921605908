package wire

import (
	"bytes"
	"testing"
)

func TestCookie(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field, name, value string
		times              int
	}{
		{"a=1; b=2", "a", "1", 1},
		{"a=1; b=2", "b", "2", 1},
		{"a=1;b=2", "b", "2", 1},
		{"a=1; b=2", "c", "", 0},
		{"a=1; a=2", "a", "1", 2},
		{"A=1", "a", "", 0},
		{" a = x=y ;", "a", "x=y", 1},
		{"a", "a", "", 0},
		{"a=", "a", "", 1},
		{"", "a", "", 0},
		{";;=;a=1", "a", "1", 1},
		{"xa=1; ax=2", "a", "", 0},
	} {
		value, times := Cookie([]byte(c.field), c.name)
		if string(value) != c.value || times != c.times {
			t.Errorf("%q in %q: %q, %d times; want %q, %d", c.name, c.field, value, times, c.value, c.times)
		}
	}
}

// FuzzCookie: whatever stands in a field, what is found stands in it.
func FuzzCookie(f *testing.F) {
	f.Add([]byte("a=1; b=2; a=3"), "a")
	f.Add([]byte("=;==;"), "")
	f.Fuzz(func(t *testing.T, field []byte, name string) {
		value, times := Cookie(field, name)
		if !bytes.Contains(field, value) || times > bytes.Count(field, []byte("=")) || times == 0 && value != nil {
			t.Fatalf("%q in %q: %q, %d times", name, field, value, times)
		}
	})
}
