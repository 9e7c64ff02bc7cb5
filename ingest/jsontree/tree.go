package jsontree

import (
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth bounds the nesting of objects and arrays.
const MaxDepth = 32

// Kind says what a value is.
type Kind uint8

// The kinds of values. Absent is the kind of the zero [Value].
const (
	Absent Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// String names the kind for messages: "an object", "a number", ….
func (k Kind) String() string {
	return [...]string{"nothing", "null", "a boolean", "a number", "a string", "an array", "an object"}[k]
}

// Problem says why a text was refused.
type Problem uint8

// The problems of [Error].
const (
	NotJSON Problem = iota
	TooDeep
	NotUTF8
	NotFinite // NaN or an infinity
)

// Error says what is wrong with a text, and where.
type Error struct {
	Problem Problem
	Path    string // of the value: products[2].price; "" at the root
	Offset  int    // in bytes from the start of the text
	Detail  string
}

// Error describes the problem for the sender.
func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("at byte %d: %s", e.Offset, e.Detail)
	}
	return fmt.Sprintf("%s, at byte %d: %s", e.Path, e.Offset, e.Detail)
}

// within prepends a step to the path of an error on its way up.
func (e *Error) within(step string) *Error {
	switch {
	case e.Path == "" || e.Path[0] == '[':
		e.Path = step + e.Path
	default:
		e.Path = step + "." + e.Path
	}
	return e
}

const (
	markEscaped = 1 << iota // a string with escapes
	markDead                // a key that stands again later in its object
	markTrue                // the boolean true
)

// A node is one value or key. Nodes stand in the order of the text; the
// children of an object are key, value, key, value, ….
type node struct {
	start, end uint32 // of the text; of a string without its quotes
	next       uint32 // index of the first node after this one and all below
	kind       Kind
	marks      uint8
}

// Tree is a parsed text. The zero Tree is ready; parsing again reuses its
// memory and invalidates its values, but not the strings taken from them.
// Not safe for concurrent use while parsing.
type Tree struct {
	src   string
	nodes []node

	// DuplicateKey says that an object held a key twice; the last one stays.
	DuplicateKey bool
	// ControlCharacters says that a string holds control characters other
	// than escaped tabs, line feeds and carriage returns.
	ControlCharacters bool
}

// Parse reads src, which stands above levels deep in the text it was cut from.
// The error is an [*Error].
func (t *Tree) Parse(src string, above int) error {
	t.src, t.nodes = src, t.nodes[:0]
	t.DuplicateKey, t.ControlCharacters = false, false
	if err := t.parse(above); err != nil {
		t.nodes = t.nodes[:0]
		return err
	}
	return nil
}

// parse is Parse with the error as it is, so that nil stays nil.
func (t *Tree) parse(above int) *Error {
	if uint64(len(t.src)) > math.MaxUint32 {
		return &Error{Detail: "text of 4 GiB and more"}
	}
	if !utf8.ValidString(t.src) {
		return &Error{Problem: NotUTF8, Offset: invalidOffset(t.src), Detail: "not UTF-8"}
	}
	pos, err := t.value(skipSpace(t.src, 0), above)
	if err != nil {
		return err
	}
	if pos = skipSpace(t.src, pos); pos < len(t.src) {
		return &Error{Offset: pos, Detail: "text after the end of the value"}
	}
	return nil
}

// invalidOffset is where the first invalid byte stands.
func invalidOffset(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return len(s)
}

// Root is the value of the whole text; absent before the first Parse and after
// one that failed.
func (t *Tree) Root() Value {
	if len(t.nodes) == 0 {
		return Value{}
	}
	return Value{t, 0}
}

// value reads the value at pos and returns the position after it.
func (t *Tree) value(pos, depth int) (int, *Error) {
	if pos >= len(t.src) {
		return pos, &Error{Offset: pos, Detail: "text ends where a value is wanted"}
	}
	switch c := t.src[pos]; {
	case c == '"':
		return t.str(pos)
	case c == '{':
		return t.object(pos, depth+1)
	case c == '[':
		return t.array(pos, depth+1)
	case c == '-' || c >= '0' && c <= '9':
		return t.number(pos)
	default:
		return t.word(pos)
	}
}

// add appends a node whose subtree is itself.
func (t *Tree) add(kind Kind, marks uint8, start, end int) {
	t.nodes = append(t.nodes, node{uint32(start), uint32(end), uint32(len(t.nodes) + 1), kind, marks})
}

// word reads true, false, null, and the words that are no JSON numbers.
func (t *Tree) word(pos int) (int, *Error) {
	for _, w := range [...]struct {
		text  string
		kind  Kind
		marks uint8
	}{{"true", Bool, markTrue}, {"false", Bool, 0}, {"null", Null, 0}} {
		if strings.HasPrefix(t.src[pos:], w.text) {
			end := pos + len(w.text)
			t.add(w.kind, w.marks, pos, end)
			return end, nil
		}
	}
	for _, w := range [...]string{"NaN", "Infinity"} {
		if strings.HasPrefix(t.src[pos:], w) {
			return pos, &Error{Problem: NotFinite, Offset: pos, Detail: w}
		}
	}
	r, _ := utf8.DecodeRuneInString(t.src[pos:])
	return pos, &Error{Offset: pos, Detail: fmt.Sprintf("%q where a value is wanted", r)}
}

// number reads a number by the grammar of RFC 8259.
func (t *Tree) number(pos int) (int, *Error) {
	end, ok := numberEnd(t.src, pos)
	if !ok {
		if strings.HasPrefix(t.src[pos:], "-Infinity") {
			return pos, &Error{Problem: NotFinite, Offset: pos, Detail: "-Infinity"}
		}
		return pos, &Error{Offset: pos, Detail: "not a number of JSON"}
	}
	t.add(Number, 0, pos, end)
	return end, nil
}

// numberEnd is the end of the number at pos, and whether it is one.
func numberEnd(s string, pos int) (int, bool) {
	if pos < len(s) && s[pos] == '-' {
		pos++
	}
	first := pos
	if pos = digitsEnd(s, pos); pos == first || s[first] == '0' && pos > first+1 {
		return pos, false
	}
	if pos < len(s) && s[pos] == '.' {
		first = pos + 1
		if pos = digitsEnd(s, first); pos == first {
			return pos, false
		}
	}
	if pos < len(s) && (s[pos] == 'e' || s[pos] == 'E') {
		if pos++; pos < len(s) && (s[pos] == '+' || s[pos] == '-') {
			pos++
		}
		first = pos
		if pos = digitsEnd(s, first); pos == first {
			return pos, false
		}
	}
	return pos, true
}

func digitsEnd(s string, pos int) int {
	for pos < len(s) && s[pos] >= '0' && s[pos] <= '9' {
		pos++
	}
	return pos
}

// plain are the bytes that a string may hold without a second look.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	for c := 0x80; c < 0x100; c++ {
		t[c] = c != 0xc2 // the first byte of U+0080 to U+009F
	}
	return t
}()

// str reads the string whose quote is at pos.
func (t *Tree) str(pos int) (int, *Error) {
	s, start, marks := t.src, pos+1, uint8(0)
	for i := start; i < len(s); {
		c := s[i]
		switch {
		case plain[c]:
			i++
		case c == '"':
			t.add(String, marks, start, i)
			return i + 1, nil
		case c == '\\':
			marks |= markEscaped
			n, control, ok := escape(s[i:])
			if !ok {
				return i, &Error{Offset: i, Detail: "unknown escape in a string"}
			}
			t.ControlCharacters = t.ControlCharacters || control
			i += n
		case c == 0xc2:
			t.ControlCharacters = t.ControlCharacters || i+1 < len(s) && s[i+1] < 0xa0
			i++
		default: // C0 or DEL as it is
			t.ControlCharacters = true
			// A rewrite must escape it, so the text is not its own value.
			marks |= markEscaped
			i++
		}
	}
	return len(s), &Error{Offset: pos, Detail: "string without an end"}
}

// escape checks the escape at the start of s: its length, and whether it
// stands for a control character other than tab, line feed, carriage return.
func escape(s string) (n int, control, ok bool) {
	if len(s) < 2 {
		return 0, false, false
	}
	switch s[1] {
	case '"', '\\', '/', 'n', 'r', 't':
		return 2, false, true
	case 'b', 'f':
		return 2, true, true
	case 'u':
		r, ok := hex4(s)
		c := r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0
		return 6, ok && c, ok
	default:
		return 0, false, false
	}
}

// hex4 reads \uXXXX.
func hex4(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s[2:6]) {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// object reads the object whose brace is at pos.
func (t *Tree) object(pos, depth int) (int, *Error) {
	if depth > MaxDepth {
		return pos, tooDeep(pos)
	}
	self, members := len(t.nodes), 0
	t.add(Object, 0, pos, pos)
	i := skipSpace(t.src, pos+1)
	for i < len(t.src) && t.src[i] != '}' {
		if members > 0 {
			if t.src[i] != ',' {
				return i, &Error{Offset: i, Detail: "',' or '}' wanted after a member"}
			}
			i = skipSpace(t.src, i+1)
		}
		var err *Error
		if i, err = t.member(i, depth); err != nil {
			return i, err
		}
		members++
		i = skipSpace(t.src, i)
	}
	if i >= len(t.src) {
		return i, &Error{Offset: pos, Detail: "object without an end"}
	}
	t.close(self, i+1)
	t.dropRepeats(self, members)
	return i + 1, nil
}

// member reads a key and its value.
func (t *Tree) member(pos, depth int) (int, *Error) {
	if pos >= len(t.src) || t.src[pos] != '"' {
		return pos, &Error{Offset: pos, Detail: "a key in quotes wanted"}
	}
	key := len(t.nodes)
	pos, err := t.str(pos)
	if err != nil {
		return pos, err
	}
	if pos = skipSpace(t.src, pos); pos >= len(t.src) || t.src[pos] != ':' {
		return pos, &Error{Offset: pos, Detail: "':' wanted after a key"}
	}
	if pos, err = t.value(skipSpace(t.src, pos+1), depth); err != nil {
		return pos, err.within(t.text(uint32(key)))
	}
	return pos, nil
}

// array reads the array whose bracket is at pos.
func (t *Tree) array(pos, depth int) (int, *Error) {
	if depth > MaxDepth {
		return pos, tooDeep(pos)
	}
	self, items := len(t.nodes), 0
	t.add(Array, 0, pos, pos)
	i := skipSpace(t.src, pos+1)
	for i < len(t.src) && t.src[i] != ']' {
		if items > 0 {
			if t.src[i] != ',' {
				return i, &Error{Offset: i, Detail: "',' or ']' wanted after an item"}
			}
			i = skipSpace(t.src, i+1)
		}
		var err *Error
		if i, err = t.value(i, depth); err != nil {
			return i, err.within("[" + strconv.Itoa(items) + "]")
		}
		items++
		i = skipSpace(t.src, i)
	}
	if i >= len(t.src) {
		return i, &Error{Offset: pos, Detail: "array without an end"}
	}
	t.close(self, i+1)
	return i + 1, nil
}

func tooDeep(pos int) *Error {
	return &Error{Problem: TooDeep, Offset: pos, Detail: fmt.Sprintf("nested deeper than %d", MaxDepth)}
}

// close ends the container that began at node self.
func (t *Tree) close(self, end int) {
	t.nodes[self].end, t.nodes[self].next = uint32(end), uint32(len(t.nodes))
}

// fewKeys is up to how many keys comparing each with each is faster than a map.
const fewKeys = 24

// dropRepeats marks the keys that stand again later in the same object.
func (t *Tree) dropRepeats(self, members int) {
	if members > fewKeys {
		t.dropRepeatsOfMany(self, members)
		return
	}
	var seen [fewKeys]string
	var at [fewKeys]uint32
	n := 0
	for i := uint32(self + 1); i < t.nodes[self].next; i = t.nodes[i+1].next {
		key := t.text(i)
		for j := range n {
			if seen[j] == key && t.nodes[at[j]].marks&markDead == 0 {
				t.nodes[at[j]].marks |= markDead
				t.DuplicateKey = true
			}
		}
		seen[n], at[n] = key, i
		n++
	}
}

func (t *Tree) dropRepeatsOfMany(self, members int) {
	last := make(map[string]uint32, members)
	for i := uint32(self + 1); i < t.nodes[self].next; i = t.nodes[i+1].next {
		key := t.text(i)
		if before, ok := last[key]; ok {
			t.nodes[before].marks |= markDead
			t.DuplicateKey = true
		}
		last[key] = i
	}
}

// text is the content of the string at node i.
func (t *Tree) text(i uint32) string {
	n := t.nodes[i]
	s := t.src[n.start:n.end]
	if n.marks&markEscaped == 0 {
		return s
	}
	return unescape(s)
}

// unescape decodes the inside of a string that was checked before. Half of a
// surrogate pair, which clients send that cut a text in the middle of an
// emoji, becomes U+FFFD.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b = append(b, s[i])
			i++
			continue
		}
		switch c := s[i+1]; c {
		case 'b':
			b, i = append(b, '\b'), i+2
		case 'f':
			b, i = append(b, '\f'), i+2
		case 'n':
			b, i = append(b, '\n'), i+2
		case 'r':
			b, i = append(b, '\r'), i+2
		case 't':
			b, i = append(b, '\t'), i+2
		case 'u':
			r, _ := hex4(s[i:])
			i += 6
			if utf16.IsSurrogate(r) {
				low, _ := hex4(s[i:])
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			b, i = append(b, c), i+2
		}
	}
	return string(b)
}

func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	return i
}

// Value is a value of a [Tree], valid until the tree parses again. The zero
// Value is absent.
type Value struct {
	t *Tree
	i uint32
}

// Kind says what the value is.
func (v Value) Kind() Kind {
	if v.t == nil {
		return Absent
	}
	return v.t.nodes[v.i].kind
}

// Given reports whether the value is there and not null.
func (v Value) Given() bool { return v.Kind() > Null }

// True reports whether the value is the boolean true.
func (v Value) True() bool {
	return v.t != nil && v.t.nodes[v.i].marks&markTrue != 0 && v.t.nodes[v.i].kind == Bool
}

// Text is the content of a string, the digits of a number as they were sent,
// and the source of anything else.
func (v Value) Text() string {
	if v.t == nil {
		return ""
	}
	n := v.t.nodes[v.i]
	if n.kind == String {
		return v.t.text(v.i)
	}
	return v.t.src[n.start:n.end]
}

// Empty reports whether the value is an object or array without content.
func (v Value) Empty() bool {
	return v.t != nil && v.t.nodes[v.i].next == v.i+1 && v.Kind() >= Array
}

// Get is the member of an object with this key, or absent.
func (v Value) Get(key string) Value {
	for k, m := range v.Members() {
		if k == key {
			return m
		}
	}
	return Value{}
}

// Members yields the members of an object in the order of the text; of keys
// that stood twice the last. Nothing of any other value.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.Kind() != Object {
			return
		}
		t := v.t
		for i := v.i + 1; i < t.nodes[v.i].next; i = t.nodes[i+1].next {
			if t.nodes[i].marks&markDead == 0 && !yield(t.text(i), Value{t, i + 1}) {
				return
			}
		}
	}
}

// Items yields the items of an array. Nothing of any other value.
func (v Value) Items() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.Kind() != Array {
			return
		}
		t := v.t
		for i := v.i + 1; i < t.nodes[v.i].next; i = t.nodes[i].next {
			if !yield(Value{t, i}) {
				return
			}
		}
	}
}
