package directory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxTypesBytes bounds a file of settings.
const MaxTypesBytes = 1 << 20

// typesSection is where the settings stand in a file.
const typesSection = "identifiers"

// typeKeys are the settings of one type, as [TypeSetting] has them.
var typeKeys = []string{
	"kind", "strength", "exclusive", "rebindable", "limit", "normaliser", "pattern", "blocked", "blocked_patterns",
}

// ParseTypes reads the settings of identifier types from a YAML document:
//
//	identifiers:
//	  email:
//	    limit: 3
//	    blocked: [info@example.com]
//	  loyalty_card:
//	    strength: 60
//	    pattern: "[0-9]{8}"
//
// Errors tell the line, the key and, of an unknown one, the nearest that is
// known.
func ParseTypes(text []byte) (*Types, error) {
	if len(text) > MaxTypesBytes {
		return nil, fmt.Errorf("%d bytes, limit %d", len(text), MaxTypesBytes)
	}
	var root yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	switch err := decodeYAML(decoder, &root); {
	case errors.Is(err, io.EOF) || err == nil && len(root.Content) == 0:
		return nil, fmt.Errorf("it is empty; the key %s is wanted", typesSection)
	case err != nil:
		return nil, err
	}
	if err := decodeYAML(decoder, new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("it holds more than one YAML document")
	}
	section, err := members(root.Content[0], "the document", []string{typesSection})
	if err != nil {
		return nil, err
	}
	if section[typesSection] == nil {
		return nil, fmt.Errorf("line %d: the key %s is wanted", root.Content[0].Line, typesSection)
	}
	return DecodeTypes(section[typesSection])
}

// decodeYAML reads one document; that the parser panics on some input is an
// error of the input.
func decodeYAML(from *yaml.Decoder, to *yaml.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("no YAML: %v", p)
		}
	}()
	return from.Decode(to)
}

// DecodeTypes is [ParseTypes] of the value under the key identifiers.
func DecodeTypes(n *yaml.Node) (*Types, error) {
	if n = aliased(n); n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return NewTypes(nil)
	}
	types, err := members(n, typesSection, nil)
	if err != nil {
		return nil, err
	}
	var settings []TypeSetting
	for i := 0; i < len(n.Content); i += 2 {
		name := n.Content[i].Value
		s, err := decodeType(name, types[name])
		if err != nil {
			return nil, err
		}
		settings = append(settings, s)
	}
	t, err := NewTypes(settings)
	if wrong, ok := errors.AsType[*TypesError](err); ok {
		line := n.Line
		if value := types[wrong.Type]; value != nil {
			line = value.Line
		}
		return nil, fmt.Errorf("line %d: %w", line, err)
	}
	return t, err
}

func decodeType(name string, n *yaml.Node) (TypeSetting, error) {
	s := TypeSetting{Name: name}
	fields, err := members(n, "identifier type "+name, typeKeys)
	if err != nil {
		return s, err
	}
	for _, key := range typeKeys {
		n := fields[key]
		if n == nil {
			continue
		}
		if err := s.set(key, n); err != nil {
			return s, fmt.Errorf("line %d: identifier type %s: %s: %w", n.Line, name, key, err)
		}
	}
	return s, nil
}

// set takes one setting.
func (s *TypeSetting) set(key string, n *yaml.Node) error {
	switch key {
	case "kind":
		return text(n, &s.Kind)
	case "normaliser":
		return text(n, &s.Normaliser)
	case "pattern":
		return text(n, &s.Pattern)
	case "exclusive":
		s.Exclusive = new(bool)
		return plain(n, s.Exclusive, "true or false")
	case "rebindable":
		s.Rebindable = new(bool)
		return plain(n, s.Rebindable, "true or false")
	case "strength":
		if err := plain(n, &s.Strength, "a whole number"); err != nil {
			return err
		}
		if s.Strength < 1 {
			return fmt.Errorf("%d, 1 to %d wanted", s.Strength, maxStrength)
		}
		return nil
	case "limit":
		s.Limit = new(int)
		if n.Kind == yaml.ScalarNode && n.Value == "none" {
			return nil
		}
		if err := plain(n, s.Limit, "a whole number or none"); err != nil {
			return err
		}
		if *s.Limit < 1 {
			return fmt.Errorf("%d, 1 to %d or none wanted", *s.Limit, MaxTypeLimit)
		}
		return nil
	case "blocked":
		return texts(n, &s.Blocked)
	default:
		return texts(n, &s.BlockedPatterns)
	}
}

// members are the values of a mapping, whose keys are among the known ones
// unless any may be.
func members(n *yaml.Node, what string, known []string) (map[string]*yaml.Node, error) {
	if n.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: %s is %s; a mapping is wanted", n.Line, what, shown(n))
	}
	all := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			return nil, fmt.Errorf("line %d: %s: a key is %s; a name is wanted", key.Line, what, shown(key))
		case all[key.Value] != nil:
			return nil, fmt.Errorf("line %d: %s: %s stands twice", key.Line, what, key.Value)
		case known != nil && !slices.Contains(known, key.Value):
			return nil, fmt.Errorf("line %d: %s: unknown key %q%s", key.Line, what, key.Value, near(key.Value, known))
		}
		all[key.Value] = aliased(n.Content[i+1])
	}
	return all, nil
}

// aliased is what an alias stands for.
func aliased(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// shown says what a node is, for messages.
func shown(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return fmt.Sprintf("%q", n.Value)
}

// plain takes a scalar of the kind of v.
func plain(n *yaml.Node, v any, wanted string) error {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Decode(v) != nil {
		return fmt.Errorf("is %s; %s is wanted", shown(n), wanted)
	}
	return nil
}

// text takes a scalar as it is written: 007 stays 007.
func text(n *yaml.Node, to *string) error {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "" {
		return fmt.Errorf("is %s; a text is wanted", shown(n))
	}
	*to = n.Value
	return nil
}

// texts takes a list of scalars, or one.
func texts(n *yaml.Node, to *[]string) error {
	if n.Kind != yaml.SequenceNode {
		var one string
		err := text(n, &one)
		*to = []string{one}
		return err
	}
	for _, item := range n.Content {
		var one string
		if err := text(aliased(item), &one); err != nil {
			return fmt.Errorf("line %d: a value %w", item.Line, err)
		}
		*to = append(*to, one)
	}
	return nil
}

// near says which known name a wrong one is near to, or which there are.
func near(wrong string, known []string) string {
	best, distance := "", 4
	for _, name := range known {
		if d := changes(strings.ToLower(wrong), name); d < min(distance, len(name)) {
			best, distance = name, d
		}
	}
	if best != "" {
		return "; " + best + " is near"
	}
	return "; there are " + strings.Join(known, ", ")
}

// changes counts the insertions, deletions and replacements of bytes that make
// one name of the other. Names that differ much in length are far apart.
func changes(a, b string) int {
	const far = 8
	if len(a) > len(b)+far || len(b) > len(a)+far {
		return far
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
