package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// passAll has raw filtered in pieces of these lengths, the last again and again.
func passAll(raw []byte, pieces []int) (out []byte, r *ChunkedReader, rest []byte, err error) {
	r = new(ChunkedReader)
	r.Reset(nil, testLimits)
	for i := 0; len(raw) > 0; i++ {
		n := min(max(pieces[min(i, len(pieces)-1)], 1), len(raw))
		room := append(make([]byte, PassRoom), raw[:n]...)
		some, left, err := r.Pass(room)
		out = append(out, some...)
		raw = raw[n:]
		if err != nil {
			return out, r, append(bytes.Clone(room[len(room)-left:]), raw...), err
		}
	}
	return out, r, nil, r.Break(io.EOF)
}

func TestPass(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw, out, trailer, rest string
		err                     error
	}{
		{"3\r\nabc\r\n0\r\n\r\nNEXT", "3\r\nabc\r\n", "", "NEXT", io.EOF},
		{"003;ext\r\nabc\r\nA ;x=\"y\"\r\n", "003\r\nabc\r\n", "", "", errChunkSize},
		{"3;ext\r\nabc\r\n2\r\nde\r\n0;x\r\nX-Sum: 1\r\nY: 2\r\n\r\n", "3\r\nabc\r\n2\r\nde\r\n", "X-Sum: 1\r\nY: 2\r\n", "", io.EOF},
		{"0\r\n\r\n", "", "", "", io.EOF},
		{"000\r\n\r\n", "", "", "", io.EOF},
		{"3\r\nabc\r\n", "3\r\nabc\r\n", "", "", io.ErrUnexpectedEOF},
		{"3\r\nabc\r\n0\r\n", "3\r\nabc\r\n", "", "", io.ErrUnexpectedEOF},
		{"3\r\nab", "3\r\nab", "", "", io.ErrUnexpectedEOF},
		{"3\r\nabcX", "3\r\nabc", "", "", errChunkEnd},
		{"zz\r\n", "", "", "", errChunkSize},
		{"0000000000000000\r\n", "", "", "", errChunkLarge},
		{"0\r\nContent-Length: 3\r\n\r\n", "", "", "", errTrailer},
	} {
		for _, size := range []int{1, 2, 3, 5, 1000} {
			out, r, rest, err := passAll([]byte(c.raw), []int{size})
			if string(out) != c.out || !errors.Is(err, c.err) {
				t.Errorf("%q by %d: got %q, %v", c.raw, size, out, err)
			}
			if _, _, again := r.Pass(make([]byte, PassRoom+1)); !errors.Is(again, c.err) {
				t.Errorf("%q by %d: a further piece is told %v", c.raw, size, again)
			}
			if err == io.EOF && (string(r.Trailer()) != c.trailer || string(rest) != c.rest) {
				t.Errorf("%q by %d: trailer %q, rest %q", c.raw, size, r.Trailer(), rest)
			}
		}
	}
}

// TestPassIsWhatReadReads compares Pass with Read on bodies of any chunks,
// received in any pieces.
func TestPassIsWhatReadReads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var raw strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "chunks") {
			data := rapid.StringN(1, 300, -1).Draw(t, "data")
			zeros := strings.Repeat("0", rapid.IntRange(0, 3).Draw(t, "zeros"))
			extension := rapid.SampledFrom([]string{"", "", ";a", ";a=\"b\""}).Draw(t, "extension")
			raw.WriteString(zeros + hexOf(len(data)) + extension + "\r\n" + data + "\r\n")
		}
		raw.WriteString(rapid.SampledFrom([]string{"0\r\n\r\n", "0;x\r\nA: b\r\n\r\n", "0\r\n", "", "-1\r\n"}).Draw(t, "end"))
		pieces := rapid.SliceOfN(rapid.IntRange(1, 400), 1, 8).Draw(t, "pieces")
		agree(t, []byte(raw.String()), pieces)
	})
}

func hexOf(n int) string {
	const digits = "0123456789abcdef"
	if n < 16 {
		return digits[n : n+1]
	}
	return hexOf(n/16) + digits[n%16:n%16+1]
}

// agree fails unless Pass says of raw what Read does, and passes the same body.
func agree(t interface{ Fatalf(string, ...any) }, raw []byte, pieces []int) {
	var reader ChunkedReader
	reader.Reset(bufio.NewReaderSize(bytes.NewReader(raw), 32), testLimits)
	body, want := io.ReadAll(&reader)
	if want == nil {
		want = io.EOF
	}
	out, passer, _, err := passAll(raw, pieces)
	if !errors.Is(err, want) {
		t.Fatalf("%q in %v: Pass says %v, Read %v", raw, pieces, err, want)
	}
	if want != io.EOF {
		return
	}
	again, ok := slowChunks(append(out, "0\r\n\r\n"...))
	if !ok || !bytes.Equal(again, body) || passer.Passed() != int64(len(body)) || !bytes.Equal(passer.Trailer(), reader.Trailer()) {
		t.Fatalf("%q in %v passes %q, %d bytes of body", raw, pieces, out, passer.Passed())
	}
}
