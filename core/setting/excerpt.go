package setting

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
	"unicode/utf8"
)

// excerptWidth bounds the characters of a source line that an excerpt shows.
const excerptWidth = 120

// Values whose keys look like those of secrets are masked too: options that nobody
// decoded, and files that could not be parsed, hold secrets that nobody marked.
// In the latter every key that may hold one counts, and the rest of its line.
var (
	secretWords  = regexp.MustCompile(`(?i)(?:password|passwd|passphrase|secret|token|credential)s?["']?\s*[:=]\s*("[^"]*"?|'[^']*'?|[^\s"'\[{,}\]].*)`)
	secretInFlow = regexp.MustCompile(`(?i)(?:password|passwd|passphrase|secret|token|credential)s?["']?\s*[:=]\s*("[^"]*"?|'[^']*'?|[^\s"'\[{,}\]][^,}\]]*)`)
	secretGuess  = regexp.MustCompile(`(?i)(?:password|passwd|passphrase|secret|token|credential|key|hash|url|dsn)[\w-]*["']?\s*[:=]\s*(.+)`)
)

// guess adds to masks what looks like a secret in line.
func guess(line string, masks set, unparsed bool) set {
	pattern := secretWords
	if unparsed {
		pattern = secretGuess
	} else if strings.ContainsAny(line, "{[") {
		pattern = secretInFlow
	}
	found := pattern.FindAllStringSubmatchIndex(line, -1)
	if len(found) == 0 {
		return masks
	}
	out := make(set, len(masks)+len(found))
	maps.Copy(out, masks)
	for _, m := range found {
		column := utf8.RuneCountInString(line[:m[2]]) + 1
		out[column] = max(out[column], utf8.RuneCountInString(line[m[2]:m[3]]))
	}
	return out
}

// AddSource remembers the text of a source, from which excerpts are cut.
func (r *Report) AddSource(name string, text []byte) {
	r.shared().sources[name] = &sourceText{text: string(text)}
}

// sourceText is a source, which is taken apart once an excerpt is wanted.
type sourceText struct {
	text  string
	split []string
}

func (s *sourceText) lines() []string {
	if s == nil {
		return nil
	}
	if s.split == nil {
		s.split = strings.Split(strings.ReplaceAll(s.text, "\r\n", "\n"), "\n")
	}
	return s.split
}

// Mask keeps a value and all beneath it out of every excerpt.
func (r *Report) Mask(n *Node) {
	if n == nil {
		return
	}
	if n.Kind == Scalar {
		s := r.shared()
		lines := s.masks[n.At.Source]
		if lines == nil {
			lines = make(map[int]set)
			s.masks[n.At.Source] = lines
		}
		if lines[n.At.Line] == nil {
			lines[n.At.Line] = make(set)
		}
		lines[n.At.Line][n.At.Column] = max(lines[n.At.Line][n.At.Column], n.width)
	}
	for _, item := range n.Items {
		r.Mask(item)
	}
	for _, e := range n.Entries {
		r.Mask(e.Value)
	}
}

// markSecret masks a value that a Secret was read from, and remembers its place.
func (r *Report) markSecret(n *Node) {
	r.Mask(n)
	r.shared().secrets[n.At] = true
}

// IsSecret says whether a Secret was decoded from the value at p.
func (r *Report) IsSecret(p Position) bool { return r.shared().secrets[p] }

// Excerpt returns the line of p with a caret below its column, each line ended
// by a line break, or "" if the source is not known. What Mask was told of, and
// what looks like a secret, reads "***".
func (r *Report) Excerpt(p Position) string {
	s := r.shared()
	lines := s.sources[p.Source].lines()
	if p.Line < 1 || p.Line > len(lines) {
		return ""
	}
	masks := guess(lines[p.Line-1], s.masks[p.Source][p.Line], s.unparsed[p.Source])
	line, column := maskLine([]rune(lines[p.Line-1]), p.Column, masks)
	for i, c := range line {
		if c < ' ' || c == 0x7f {
			line[i] = ' ' // tabs would move the caret, controls the terminal
		}
	}
	column = min(column, len(line)+1)
	prefix := fmt.Sprintf("%5d | ", p.Line)
	from := 0
	if column > excerptWidth {
		from = column - excerptWidth/2
	}
	shown := string(line[from:min(len(line), from+excerptWidth)])
	return prefix + strings.TrimRight(shown, " ") + "\n" + strings.Repeat(" ", len(prefix)-2) + "| " + strings.Repeat(" ", max(column-1-from, 0)) + "^\n"
}

// maskLine replaces the masked parts of line and says where column has moved to.
func maskLine(line []rune, column int, masks set) ([]rune, int) {
	if len(masks) == 0 {
		return line, column
	}
	out := make([]rune, 0, len(line))
	moved := column
	for i := 0; i < len(line); {
		width, masked := masks[i+1]
		if !masked || width == 0 {
			if i+1 == column {
				moved = len(out) + 1
			}
			out = append(out, line[i])
			i++
			continue
		}
		width = min(width, len(line)-i)
		if column > i && column <= i+width {
			moved = len(out) + 1
		}
		out = append(out, []rune(Masked)...)
		i += width
	}
	if column > len(line) {
		moved = len(out) + column - len(line)
	}
	return out, moved
}
