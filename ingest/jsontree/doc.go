// Package jsontree reads JSON as trackers send it: exactly, and without
// believing it.
//
// [Tree.Parse] reads one text into a flat tree. Numbers keep the digits they
// were sent with, strings are cut from the source without copying, and
// whatever would change a meaning silently is reported: a key that stands
// twice (the last one stays), control characters, invalid UTF-8, nesting
// beyond the limit. Two things outside the letter of JSON are understood so
// that the answer can name them: control characters standing raw in a string
// are kept and reported, and the words NaN and Infinity, which several
// encoders write, are refused as what they are.
//
// [CutObject] and [CutArray] find where the members of an object and the items
// of an array begin and end without looking inside, so that a bad item of a
// batch does not make its neighbours unreadable.
//
// [Builder] and [Value.AppendCanonical] write canonical JSON: members in order
// of key, no spaces, the shortest escapes, numbers with the digits they were
// sent with.
package jsontree
