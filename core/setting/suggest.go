package setting

import "strings"

// OneOf joins words to "a, b or c".
func OneOf(words []string) string {
	switch len(words) {
	case 0:
		return "nothing"
	case 1:
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// Nearest returns the known word that got was probably meant to be, or "". It
// counts letters that are wrong, missing, too many or swapped, and allows one in
// three. Of numbers, none is nearer than another.
func Nearest(got string, known []string) string {
	if isDigits(got) {
		return ""
	}
	best, nearest := 0, ""
	for _, word := range known {
		d := distance(fold(got), fold(word))
		if d > max(1, max(len(got), len(word))/3) || d >= max(len(got), len(word)) {
			continue
		}
		if nearest == "" || d < best {
			best, nearest = d, word
		}
	}
	if nearest == got {
		return ""
	}
	return nearest
}

// fold makes spellings equal that people mix up.
func fold(s string) string {
	return strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(s))
}

// longest is the length beyond which words are not compared letter by letter.
const longest = 64

// distance is the optimal string alignment distance of two words, in bytes.
func distance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var before, last, row [longest + 1]int
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
