package columns

import (
	"iter"
	"unique"
)

// All yields the traits of a row by name. [Traits.More] says whether there are
// others.
func (t *Traits) All() iter.Seq2[string, Trait] {
	return func(yield func(string, Trait) bool) {
		if t.names == (unique.Handle[string]{}) {
			return
		}
		values := t.values
		for names := t.names.Value(); names != ""; {
			n := 1 + int(names[0])
			trait, size := unpackTrait(values)
			if !yield(names[1:n], trait) {
				return
			}
			names, values = names[n:], values[size:]
		}
	}
}

// More reports whether the customer has traits that are not in the row.
func (t *Traits) More() bool { return t.more }
