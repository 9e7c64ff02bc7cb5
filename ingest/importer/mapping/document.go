package mapping

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// place is where something stands in a mapping file.
type place struct {
	line, column int
	key          string // path
}

// document is a mapping file as YAML, and the mistakes found in it so far.
type document struct {
	name  string
	text  []string // lines
	errs  Errors
	nodes int
}

func (d *document) fail(at place, format string, args ...any) {
	d.errs = append(d.errs, &Error{File: d.name, Line: at.line, Column: at.column, Key: at.key, Message: fmt.Sprintf(format, args...)})
}

// open reads the text as YAML; nil if it is none.
func (d *document) open(text []byte) *node {
	switch {
	case len(text) > MaxBytes:
		d.fail(place{line: 1}, "the mapping has %d bytes, limit %d", len(text), MaxBytes)
		return nil
	case !utf8.Valid(text):
		d.fail(place{line: 1}, "the mapping is not UTF-8; save it as UTF-8")
		return nil
	}
	d.text = strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	var root yaml.Node
	if err := decode(decoder, &root); err != nil {
		d.fail(place{line: yamlLine(err)}, "no YAML: %s", yamlMessage(err))
		return nil
	}
	if len(root.Content) == 0 {
		d.fail(place{line: 1}, "the mapping is empty; format and rows are wanted")
		return nil
	}
	return d.node(root.Content[0], "", 0)
}

// decode reads one document; that the parser panics on some input is an error of
// the input.
func decode(from *yaml.Decoder, to *yaml.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: %v", p)
		}
	}()
	err = from.Decode(to)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

var yamlAt = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func yamlLine(err error) int {
	if m := yamlAt.FindStringSubmatch(err.Error()); m != nil && m[1] != "" {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return n
		}
	}
	return 1
}

func yamlMessage(err error) string {
	text := err.Error()
	text = text[len(yamlAt.FindString(text)):]
	switch {
	case strings.Contains(text, "found character that cannot start any token"):
		text += " (a tab at the beginning of a line? YAML is indented by spaces; a text that begins with one of @ ` % stands in quotes)"
	case strings.Contains(text, "did not find expected ',' or"):
		text += " (inside { } and [ ] an expression with a comma or a quote stands in quotes: '…')"
	case strings.Contains(text, "mapping values are not allowed"):
		text += " (an expression that holds a colon and a space stands in quotes: '…')"
	}
	return text
}

// kinds of nodes, in the words of messages.
const (
	kindText    = "a text"
	kindNumber  = "a number"
	kindBool    = "true or false"
	kindDate    = "a date"
	kindNothing = "nothing"
	kindMapping = "a mapping"
	kindList    = "a list"
)

// node is a value of the document.
type node struct {
	place
	kind    string
	value   string // of a text, number, true or false
	style   yaml.Style
	members []nodeMember
	items   []*node
}

type nodeMember struct {
	key   place // of the key itself
	name  string
	value *node
}

func (d *document) node(y *yaml.Node, key string, depth int) *node {
	n := &node{place: place{line: y.Line, key: key}}
	if d.nodes++; depth > maxYAMLDepth || d.nodes > maxYAMLNodes {
		if d.nodes < maxYAMLNodes*2 { // told once
			d.fail(n.place, "deeper than %d levels or more than %d values", maxYAMLDepth, maxYAMLNodes)
			d.nodes = maxYAMLNodes * 2
		}
		n.kind = kindNothing
		return n
	}
	switch y.Kind {
	case yaml.AliasNode:
		return d.node(y.Alias, key, depth+1)
	case yaml.MappingNode:
		n.kind = kindMapping
		d.members(n, y, depth)
	case yaml.SequenceNode:
		n.kind = kindList
		for i, item := range y.Content {
			n.items = append(n.items, d.node(item, fmt.Sprintf("%s[%d]", key, i), depth+1))
		}
	default:
		n.value, n.style, n.column = y.Value, y.Style, y.Column
		n.kind = map[string]string{"!!int": kindNumber, "!!float": kindNumber, "!!bool": kindBool, "!!null": kindNothing, "!!timestamp": kindDate}[y.ShortTag()]
		if n.kind == "" {
			n.kind = kindText
		}
	}
	return n
}

func (d *document) members(n *node, y *yaml.Node, depth int) {
	seen := map[string]int{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		k := y.Content[i]
		if k.Kind != yaml.ScalarNode {
			d.fail(place{line: k.Line, key: n.key}, "a key is %s, a name wanted", map[yaml.Kind]string{yaml.MappingNode: kindMapping, yaml.SequenceNode: kindList}[k.Kind])
			continue
		}
		path := k.Value
		if n.key != "" {
			path = n.key + "." + k.Value
		}
		at := place{line: k.Line, key: path}
		if value := y.Content[i+1]; value.ShortTag() == "!!null" && value.Value == "" && strings.ContainsAny(k.Value, `()"'?.`) {
			d.fail(place{line: k.Line, key: n.key}, "a comma ended the expression before %s; inside { } an expression with a comma stands in quotes: '…'", k.Value)
			continue
		}
		if first, twice := seen[k.Value]; twice {
			d.fail(at, "the key stands twice; first on line %d", first)
			continue
		}
		seen[k.Value] = k.Line
		n.members = append(n.members, nodeMember{at, k.Value, d.node(y.Content[i+1], path, depth+1)})
	}
}

// get is a member of a mapping, nil if there is none.
func (n *node) get(name string) *node {
	for _, m := range n.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// isMapping checks that a node is a mapping with no key but the known ones.
func (d *document) isMapping(n *node, known ...string) bool {
	if n.kind != kindMapping {
		d.fail(n.place, "is %s; a mapping with the keys %s is wanted", n.shown(), strings.Join(known, ", "))
		return false
	}
	for _, m := range n.members {
		if !slices.Contains(known, m.name) {
			d.fail(m.key, "unknown key%s", near(m.name, known))
		}
	}
	return true
}

// shown is a value for a message.
func (n *node) shown() string {
	switch n.kind {
	case kindText:
		return strconv.Quote(cut(n.value))
	case kindNumber, kindBool, kindDate:
		return n.value
	}
	return n.kind
}

func cut(s string) string {
	const shownRunes = 80
	i := 0
	for at := range s {
		if i++; i > shownRunes {
			return s[:at] + "…"
		}
	}
	return s
}

// word is the text that a node is; a number where a name is wanted is its text.
func (d *document) word(n *node, want string) (string, bool) {
	if n == nil {
		return "", false
	}
	if n.kind == kindText || n.kind == kindNumber || n.kind == kindDate {
		return n.value, true
	}
	d.fail(n.place, "is %s; %s is wanted", n.shown(), want)
	return "", false
}

// yes is a true or false that stands as such; false if it is absent.
func (d *document) yes(n *node) bool {
	if n == nil {
		return false
	}
	if n.kind != kindBool {
		d.fail(n.place, "is %s; true or false is wanted", n.shown())
		return false
	}
	b, err := strconv.ParseBool(strings.ToLower(n.value))
	if err != nil { // yes, on: YAML of old
		d.fail(n.place, "is %s; true or false is wanted", n.value)
	}
	return b
}

// list are the texts of a list; one text stands for a list of one.
func (d *document) list(n *node, want string) []name {
	if n == nil {
		return nil
	}
	nodes := n.items
	if n.kind != kindList {
		nodes = []*node{n}
	} else if len(nodes) == 0 {
		d.fail(n.place, "is an empty list; %s is wanted", want)
	}
	var all []name
	for _, item := range nodes {
		if text, ok := d.word(item, want); ok {
			all = append(all, name{item.place, text})
		}
	}
	return all
}

// at is the place in the file of a character of a text, both counted from 0 in
// lines of the text.
func (d *document) at(n *node, line, column int) place {
	p := n.place
	if n.style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		p.line, p.column = n.line+1+line, 0
		if p.line <= len(d.text) {
			own := d.text[p.line-1]
			p.column = len(own) - len(strings.TrimLeft(own, " ")) + column + 1
		}
		return p
	}
	if line > 0 || n.line > len(d.text) {
		return p
	}
	raw := []rune(d.text[n.line-1])
	i := n.column - 1
	switch {
	case n.style&yaml.SingleQuotedStyle != 0:
		for i++; column > 0 && i < len(raw); column-- {
			if i++; i < len(raw) && raw[i-1] == '\'' && raw[i] == '\'' {
				i++
			}
		}
	case n.style&yaml.DoubleQuotedStyle != 0:
		for i++; column > 0 && i < len(raw); column-- {
			if i++; i < len(raw) && raw[i-1] == '\\' {
				i += map[rune]int{'x': 3, 'u': 5, 'U': 9}[raw[i]]
				if !strings.ContainsRune("xuU", raw[i]) {
					i++
				}
			}
		}
	default:
		i += column
	}
	p.column = i + 1
	return p
}
