package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var listIndex = regexp.MustCompile(`\[\d+\]`)

// schemaPath is a key path without the numbers of list items: ports[].mtu.
func schemaPath(path string) string { return listIndex.ReplaceAllString(path, "[]") }

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// nearest is the known word that the found one is probably a slip of, or "".
func nearest(found string, known []string) string {
	const maxLength = 64 // of a word worth comparing: the cost is quadratic and a file may say anything
	best, bestDistance := "", max(2, len(found)/3)+1
	if len(found) > maxLength {
		return ""
	}
	for _, word := range known {
		if d := distance(found, word); d < bestDistance {
			best, bestDistance = word, d
		}
	}
	return best
}

// maxListed is how many known names a message lists.
const maxListed = 10

// listed is the known names for a message.
func listed(names []string) string {
	switch more := len(names) - maxListed; {
	case len(names) == 0:
		return "none is defined"
	case more > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), more)
	}
	return strings.Join(names, ", ")
}

// notKnown is the message on a name that is none of the known ones.
func notKnown(kind, name string, known []string) string {
	article := "a"
	if kind == "SA" {
		article = "an"
	}
	text := fmt.Sprintf("expected the name of %s %s (%s), found %q", article, kind, listed(known), name)
	if near := nearest(name, known); near != "" {
		text += fmt.Sprintf(": did you mean %s?", near)
	}
	return text
}

// distance is the number of letters to insert, delete or replace to get from a to b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(diagonal+cost, above+1, row[j]+1)
			diagonal = above
		}
	}
	return row[len(b)]
}
