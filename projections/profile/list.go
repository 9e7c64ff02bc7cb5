package profile

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// find looks for key in a list sorted by it.
func find[T any](list []T, key string, keyOf func(T) string) (int, bool) {
	return slices.BinarySearchFunc(list, key, func(e T, k string) int { return strings.Compare(keyOf(e), k) })
}

// insertLeast inserts e at i into a sorted list that keeps the `limit` least
// elements, and reports whether something fell out. What is kept does not
// depend on the order of arrival: the greatest kept only ever falls, so what
// fell out would fall out again.
func insertLeast[T any](list []T, i int, e T, limit int) (kept []T, dropped bool) {
	if i >= limit {
		return list, true
	}
	list = slices.Insert(list, i, e)
	if len(list) <= limit {
		return list, false
	}
	clear(list[limit:])
	return list[:limit], true
}

// cutKey bounds a key at a character's border.
func cutKey(key string) string { return cut(key, maxKeyBytes) }

// cut returns the longest prefix of s of at most n bytes that ends between
// characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
