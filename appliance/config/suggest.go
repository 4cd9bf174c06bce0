package config

import (
	"maps"
	"regexp"
	"slices"
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
