package messages

import (
	"fmt"
	"strings"
)

// DidYouMean asks for the known name that was meant, as the beginning of a hint; empty when none is near.
func DidYouMean(word string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return fmt.Sprintf("did you mean %q? ", near)
	}
	return ""
}

// Nearest is the known word at the least edit distance, if that is small for the word's length, or one that begins with the word; empty when
// none is near. Case and punctuation don't count.
func Nearest(word string, known []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, c := range known {
		dist := distance(bare(word), bare(c))
		if len(word) >= 2 && dist > 0 && strings.HasPrefix(bare(c), bare(word)) {
			dist = 1
		}
		if dist < least || dist == least && best != "" && c < best {
			best, least = c, dist
		}
	}
	return best
}

// bare drops case and punctuation: gpuPollInterval is gpu_poll_interval.
func bare(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == '.' || r == ':' || r == '/' {
			return -1
		}
		return r
	}, strings.ToLower(s))
}

// distance counts the letters to insert, delete or replace, and the pairs of neighbours to exchange.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	last, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := row[j]
			if a[i] != b[j] {
				cost++
			}
			next[j+1] = min(cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], last[j-1]+1)
			}
		}
		last, row = row, next
	}
	return row[len(b)]
}
