package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// objects cuts ndjson: one JSON object a line, numbers kept as written.
type objects struct{}

func (objects) cut(t *text) (Row, error) {
	for {
		line, next, err := t.line()
		if err != nil {
			return Row{}, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			t.in.take(next, 1)
			continue
		}
		start, s := t.in.line, string(line)
		object, err := decodeObject(line)
		t.in.take(next, 1)
		if !t.clean(s) {
			return Row{}, t.bad(start, "%s", t.notText(s))
		}
		if err != nil {
			return Row{}, &RowError{File: t.file, Line: start, Value: s, Reason: err.Error()}
		}
		if len(s) > maxCellBytes {
			if err := checkObject(t, start, object); err != nil {
				return Row{}, err
			}
		}
		return t.objectRow(start, object), nil
	}
}

func (t *text) objectRow(line int, object map[string]any) Row {
	if len(t.columns) == 0 {
		return Row{Line: line, Values: []any{object}}
	}
	values := make([]any, len(t.columns))
	for i, name := range t.columns {
		values[i] = object[name]
	}
	return Row{Line: line, Values: values}
}

// checkObject refuses text beyond the bound of a cell, at the top level: what
// lies deeper is bounded by the row.
func checkObject(t *text, line int, object map[string]any) error {
	for key, v := range object {
		if s, ok := v.(string); ok && len(s) > maxCellBytes {
			return &RowError{File: t.file, Line: line, Column: key, Reason: t.flaw(s)}
		}
	}
	return nil
}

// decodeObject reads exactly one JSON object.
func decodeObject(line []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, errors.New("is not JSON: it ends too early; a JSON object must stand on one line")
		}
		return nil, fmt.Errorf("is not JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("is %s: a JSON object is wanted on every line", kindOfJSON(v))
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("goes on behind the object, at byte %d: one object a line is wanted", decoder.InputOffset()+1)
	}
	return object, nil
}

func kindOfJSON(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case []any:
		return "a JSON array"
	case string:
		return "a JSON text"
	case bool:
		return "a JSON boolean"
	default:
		return "a JSON number"
	}
}
