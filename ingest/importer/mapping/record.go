package mapping

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/dossier360/dossier/ingest/importer/table"
)

// header are the columns of a table.
type header struct {
	names []string
	index map[string]int
}

func newHeader(names []string) *header {
	h := &header{names: names, index: make(map[string]int, len(names))}
	for i, n := range names {
		h.index[n] = i
	}
	return h
}

// record is a row as expressions see it: cells trimmed, those that say nothing
// null. It is a map from the names of columns.
type record struct {
	line  int
	table string // of a lookup
	// columns are parallel to values; nil where the row is an object with any
	// keys, which is object then.
	columns *header
	values  []any
	object  map[string]any
}

// newRecord reads a row.
func (m *Mapping) newRecord(columns *header, table string, row table.Row) *record {
	r := &record{line: row.Line, table: table, columns: columns}
	if columns == nil {
		if len(row.Values) == 1 {
			r.object, _ = m.cell(row.Values[0]).(map[string]any)
		}
		return r
	}
	r.values = make([]any, len(columns.names))
	for i := range min(len(row.Values), len(r.values)) {
		r.values[i] = m.cell(row.Values[i])
	}
	return r
}

// cell is what a cell says: nil if it says nothing.
func (m *Mapping) cell(v any) any {
	switch v := v.(type) {
	case string:
		text := strings.TrimSpace(v)
		if slices.Contains(m.nulls, text) {
			return nil
		}
		return text
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = m.cell(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = m.cell(e)
		}
		return out
	}
	return v
}

// raw is the cell of a column, nil if it is null or not there.
func (r *record) raw(name string) any {
	if r.columns == nil {
		return r.object[name]
	}
	i, ok := r.columns.index[name]
	if !ok {
		return nil
	}
	return r.values[i]
}

func (r *record) value(name string) ref.Val { return valueOf(r.raw(name)) }

// valueOf is a cell as CEL sees it.
func valueOf(v any) ref.Val {
	switch v := v.(type) {
	case nil:
		return types.NullValue
	case string:
		return types.String(v)
	case bool:
		return types.Bool(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return types.Int(n)
		}
		x, err := v.Float64()
		if err != nil {
			return types.String(v)
		}
		return types.Double(x)
	case []any:
		list := make([]ref.Val, len(v))
		for i, e := range v {
			list[i] = valueOf(e)
		}
		return types.NewRefValList(types.DefaultTypeAdapter, list)
	case map[string]any:
		object := make(map[ref.Val]ref.Val, len(v))
		for k, e := range v {
			object[types.String(k)] = valueOf(e)
		}
		return types.NewRefValMap(types.DefaultTypeAdapter, object)
	}
	panic(fmt.Sprintf("not reached: a cell of type %T", v))
}

// names are those of the columns that say something.
func (r *record) names() []string {
	var all []string
	if r.columns == nil {
		for k, v := range r.object {
			if v != nil {
				all = append(all, k)
			}
		}
		slices.Sort(all)
		return all
	}
	for i, n := range r.columns.names {
		if r.values[i] != nil {
			all = append(all, n)
		}
	}
	return all
}

// same reports whether two rows say the same.
func (r *record) same(o *record) bool {
	return slices.EqualFunc(r.values, o.values, sameCell) && reflect.DeepEqual(r.object, o.object)
}

func sameCell(a, b any) bool { return reflect.DeepEqual(a, b) }

// keep is a copy that holds the wanted columns only, and no more memory than
// that.
func (r *record) keep(want *header, set *columnSet) (*record, int) {
	k := &record{line: r.line, table: r.table, columns: want}
	bytes := recordBytes
	if r.columns == nil {
		k.object = map[string]any{}
		for name, v := range r.object {
			if v != nil && set.has(name) {
				k.object[name] = v
				bytes += len(name) + heldBytes(v)
			}
		}
		return k, bytes
	}
	k.values = make([]any, len(want.names))
	for i, name := range want.names {
		v := r.values[r.columns.index[name]]
		if text, ok := v.(string); ok {
			v = strings.Clone(text) // else a cell holds the line that it was cut from
		}
		k.values[i] = v
		bytes += heldBytes(v)
	}
	return k, bytes
}

// What things hold beside their text, by a careful estimate.
const (
	recordBytes = 112
	cellBytes   = 40
	groupBytes  = 160
	hashBytes   = 64
)

func heldBytes(v any) int {
	bytes := cellBytes
	switch v := v.(type) {
	case string:
		bytes += len(v)
	case json.Number:
		bytes += len(v)
	case []any:
		for _, e := range v {
			bytes += heldBytes(e)
		}
	case map[string]any:
		for k, e := range v {
			bytes += len(k) + cellBytes + heldBytes(e)
		}
	}
	return bytes
}

// cellText is what a cell says as a text.
func cellText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	text, err := json.Marshal(v) // with the keys of objects in order
	if err != nil {
		panic("not reached: a cell is JSON: " + err.Error())
	}
	return string(text)
}

var recordType = types.NewObjectType("row", traits.ContainerType|traits.IndexerType|traits.IterableType|traits.SizerType)

// ConvertToNative implements [ref.Val].
func (r *record) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("a row cannot be made a %s", to)
}

// ConvertToType implements [ref.Val].
func (r *record) ConvertToType(to ref.Type) ref.Val {
	return fail("a row cannot be made a %s", to.TypeName())
}

// Equal implements [ref.Val].
func (r *record) Equal(other ref.Val) ref.Val {
	o, ok := other.(*record)
	return types.Bool(ok && r.same(o))
}

// Type implements [ref.Val].
func (r *record) Type() ref.Type { return recordType }

// Value implements [ref.Val].
func (r *record) Value() any {
	all := map[string]any{}
	for _, n := range r.names() {
		all[n] = r.raw(n)
	}
	return all
}

// Contains implements [traits.Container]: whether a column says something.
func (r *record) Contains(name ref.Val) ref.Val {
	text, ok := name.(types.String)
	return types.Bool(ok && r.raw(string(text)) != nil)
}

// Find implements [traits.Mapper].
func (r *record) Find(name ref.Val) (ref.Val, bool) {
	text, ok := name.(types.String)
	if !ok || r.raw(string(text)) == nil {
		return nil, false
	}
	return r.value(string(text)), true
}

// Get implements [traits.Indexer].
func (r *record) Get(name ref.Val) ref.Val { return get(r, name) }

// Size implements [traits.Sizer].
func (r *record) Size() ref.Val { return types.Int(len(r.names())) }

// Iterator implements [traits.Iterable].
func (r *record) Iterator() traits.Iterator {
	return types.NewStringList(types.DefaultTypeAdapter, r.names()).Iterator()
}

var _ traits.Mapper = (*record)(nil)

// columnsOf are the columns of a header that a set holds, in their order.
func (c *columnSet) of(h *header) *header {
	if h == nil || c.all {
		return h
	}
	var kept []string
	for _, n := range h.names {
		if c.names[n] {
			kept = append(kept, n)
		}
	}
	return newHeader(kept)
}

// sortedNames are the columns that a set names.
func (c *columnSet) sortedNames() []string { return slices.Sorted(maps.Keys(c.names)) }
