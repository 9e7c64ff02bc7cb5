package jsontree

import (
	"cmp"
	"slices"
	"unicode/utf8"
)

// AppendCanonical appends the value as canonical JSON; nothing if absent.
func (v Value) AppendCanonical(dst []byte) []byte {
	switch v.Kind() {
	case Absent:
		return dst
	case String:
		return v.appendString(dst)
	case Array:
		dst = append(dst, '[')
		first := true
		for item := range v.Items() {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = item.AppendCanonical(dst)
		}
		return append(dst, ']')
	case Object:
		var b Builder
		for key, m := range v.Members() {
			b.Add(key, m)
		}
		return b.Append(dst)
	default:
		return append(dst, v.Text()...)
	}
}

// appendString copies a string that needs no escapes and writes any other.
func (v Value) appendString(dst []byte) []byte {
	n := v.t.nodes[v.i]
	if n.marks&markEscaped == 0 {
		dst = append(dst, '"')
		dst = append(dst, v.t.src[n.start:n.end]...)
		return append(dst, '"')
	}
	return AppendString(dst, v.t.text(v.i))
}

// AppendString appends s as a JSON string with the shortest escapes. Invalid
// UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r < 0x20 || r == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// part is a member: a value of a tree, or JSON text.
type part struct {
	key   string
	value Value
	text  []byte
}

// Builder gathers the members of an object. The zero Builder is empty. It
// holds on to the values added until it is written.
type Builder struct {
	parts []part
	few   [4]part // where most builders find room; so a Builder is not copied
	// keys are those of the parts, once somebody asked for one among many.
	keys map[string]struct{}
}

// add appends a part.
func (b *Builder) add(p part) {
	if b.parts == nil {
		b.parts = b.few[:0]
	}
	if b.keys != nil {
		b.keys[p.key] = struct{}{}
	}
	b.parts = append(b.parts, p)
}

// Len is the number of members.
func (b *Builder) Len() int { return len(b.parts) }

// Has reports whether a member of this key was added.
func (b *Builder) Has(key string) bool {
	if len(b.parts) <= fewKeys {
		return slices.ContainsFunc(b.parts, func(p part) bool { return p.key == key })
	}
	if b.keys == nil {
		b.keys = make(map[string]struct{}, 2*len(b.parts))
		for _, p := range b.parts {
			b.keys[p.key] = struct{}{}
		}
	}
	_, ok := b.keys[key]
	return ok
}

// Add adds a member. The caller sees to it that no key is added twice.
func (b *Builder) Add(key string, v Value) { b.add(part{key: key, value: v}) }

// AddText adds a member whose value is written as canonical JSON already.
func (b *Builder) AddText(key string, text []byte) {
	b.add(part{key: key, text: text})
}

// Join adds the members of another object. Those whose keys are taken get the
// prefix before theirs.
func (b *Builder) Join(other *Builder, prefix string) {
	for _, p := range other.parts {
		for b.Has(p.key) {
			p.key = prefix + p.key
		}
		b.add(p)
	}
}

// Append appends the object with its members in order of key.
func (b *Builder) Append(dst []byte) []byte {
	slices.SortFunc(b.parts, func(x, y part) int { return cmp.Compare(x.key, y.key) })
	dst = append(dst, '{')
	for i, p := range b.parts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, p.key), ':')
		if p.text != nil {
			dst = append(dst, p.text...)
		} else {
			dst = p.value.AppendCanonical(dst)
		}
	}
	return append(dst, '}')
}

// String is the object, or "" if there are no members.
func (b *Builder) String() string {
	if len(b.parts) == 0 {
		return ""
	}
	var few [512]byte
	return string(b.Append(few[:0]))
}
