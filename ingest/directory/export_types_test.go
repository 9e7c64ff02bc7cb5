package directory

import "fmt"

// Types are the identifier types that hold as far as IDENTITY is folded.
func (d *Directory) Types() *Types { return d.types.Load() }

// Describe tells what the rules know of a type.
func (t *Types) Describe(typ string) string {
	k, ok := t.kind(typ)
	if !ok {
		return "unknown"
	}
	limit := "no limit"
	if k.limit > 0 {
		limit = fmt.Sprint("limit ", k.limit)
	}
	text := fmt.Sprintf("%s %s, strength %d, %s", kindName(k.company), k.form, k.strength, limit)
	if k.weak {
		text += ", rebindable"
	}
	return text
}
