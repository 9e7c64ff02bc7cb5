package jsontree_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/ingest/jsontree"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, src, want    string
		duplicate, control bool
	}{
		{"sorted, digits kept", ` {"b" : [1.50, -0, 1E+2, 12345678901234567890] , "a":{"z":null,"y":true}} `,
			`{"a":{"y":true,"z":null},"b":[1.50,-0,1E+2,12345678901234567890]}`, false, false},
		{"last of a key wins", `{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`, true, false},
		{"a key is its content", `{"a":1,"\u0061":2,"a":3}`, `{"a":3}`, true, false},
		{"repeats deep inside", `[{"a":{"b":1,"b":2}}]`, `[{"a":{"b":2}}]`, true, false},
		{"escapes", `"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"`, `"\"\\/\u0008\u000c\n\r\té😀"`, false, true},
		{"ends of lines are no control characters", `"\n\r\t"`, `"\n\r\t"`, false, false},
		{"escaped control", `"\u0007"`, `"\u0007"`, false, true},
		{"raw control", "\"a\x01\tb\"", `"a\u0001\tb"`, false, true},
		{"DEL and C1", "\"\x7f\u0085\"", "\"\\u007f\u0085\"", false, true},
		{"half a surrogate pair", `"a\ud83d"`, "\"a\ufffd\"", false, false},
		{"two halves the wrong way round", `"\ude00\ud83d"`, "\"\ufffd\ufffd\"", false, false},
		{"empty", `{}`, `{}`, false, false},
		{"no-break space is no control", "\"\u00a0\"", "\"\u00a0\"", false, false},
		{"many keys", manyKeys(100) + "", manyKeysSorted(100), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var tree jsontree.Tree
			if err := tree.Parse(c.src, 0); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(tree.Root().AppendCanonical(nil)), c.want); diff != "" {
				t.Errorf("canonical (-got +want):\n%s", diff)
			}
			if tree.DuplicateKey != c.duplicate || tree.ControlCharacters != c.control {
				t.Errorf("got duplicate %v, control %v, want %v, %v", tree.DuplicateKey, tree.ControlCharacters, c.duplicate, c.control)
			}
		})
	}
}

// manyKeys has more keys than are compared one with another, the last of which
// stands twice.
func manyKeys(n int) string {
	var b strings.Builder
	b.WriteString(`{"k":0`)
	for i := n; i > 0; i-- {
		b.WriteString(`,"` + strings.Repeat("k", i) + `":1`)
	}
	return b.String() + "}"
}

func manyKeysSorted(n int) string {
	var parts []string
	for i := 1; i <= n; i++ {
		parts = append(parts, `"`+strings.Repeat("k", i)+`":1`)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		src     string
		problem jsontree.Problem
		path    string
	}{
		{``, jsontree.NotJSON, ""},
		{`{"a":1`, jsontree.NotJSON, ""},
		{`{"a":1,}`, jsontree.NotJSON, ""},
		{`{"a" 1}`, jsontree.NotJSON, ""},
		{`{a:1}`, jsontree.NotJSON, ""},
		{`[1,]`, jsontree.NotJSON, "[1]"},
		{`[1 2]`, jsontree.NotJSON, ""},
		{`{"a":[1}`, jsontree.NotJSON, "a"},
		{`{"a":01}`, jsontree.NotJSON, "a"},
		{`{"a":1.}`, jsontree.NotJSON, "a"},
		{`{"a":.5}`, jsontree.NotJSON, "a"},
		{`{"a":+1}`, jsontree.NotJSON, "a"},
		{`{"a":1e}`, jsontree.NotJSON, "a"},
		{`{"a":-}`, jsontree.NotJSON, "a"},
		{`{"a":nul}`, jsontree.NotJSON, "a"},
		{`{"a":nulls}`, jsontree.NotJSON, ""},
		{`"a\x"`, jsontree.NotJSON, ""},
		{`"\u12g4"`, jsontree.NotJSON, ""},
		{`"a`, jsontree.NotJSON, ""},
		{`"a\`, jsontree.NotJSON, ""},
		{`{} {}`, jsontree.NotJSON, ""},
		{`{"a":{"b":[0,NaN]}}`, jsontree.NotFinite, "a.b[1]"},
		{`{"a":-Infinity}`, jsontree.NotFinite, "a"},
		{"{\"a\":\"\xff\"}", jsontree.NotUTF8, ""},
		{strings.Repeat("[", 33) + strings.Repeat("]", 33), jsontree.TooDeep, strings.Repeat("[0]", 32)},
		{strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000), jsontree.TooDeep, "a" + strings.Repeat(".a", 31)},
	} {
		var tree jsontree.Tree
		err := tree.Parse(c.src, 0)
		var e *jsontree.Error
		if !errors.As(err, &e) {
			t.Errorf("%.40q: got %v, want an Error", c.src, err)
			continue
		}
		if e.Problem != c.problem || e.Path != c.path {
			t.Errorf("%.40q: got problem %d at %q, want %d at %q", c.src, e.Problem, e.Path, c.problem, c.path)
		}
		if tree.Root().Kind() != jsontree.Absent {
			t.Errorf("%.40q: a root after a failed parse", c.src)
		}
	}
}

func TestDepthLimit(t *testing.T) {
	t.Parallel()
	var tree jsontree.Tree
	at := strings.Repeat("[", jsontree.MaxDepth) + strings.Repeat("]", jsontree.MaxDepth)
	if err := tree.Parse(at, 0); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if err := tree.Parse(at, 1); err == nil {
		t.Error("one above the limit: no error")
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	src := ` { "batch" : [ {"a":"]}\""} , nope, 12 ,{"b":[}]] , "s\u0065nt":"x" } `
	members, err := jsontree.CutObject(src)
	if err != nil {
		t.Fatal(err)
	}
	if len(members) != 2 || members[0].Key != "batch" || members[1].Key != "sent" || members[1].Value.Of(src) != `"x"` {
		t.Fatalf("got members %v", members)
	}
	list := members[0].Value.Of(src)
	items, err := jsontree.CutArray(list, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range items {
		got = append(got, i.Of(list))
	}
	if diff := cmp.Diff(got, []string{`{"a":"]}\""}`, "nope", "12", `{"b":[}]`}); diff != "" {
		t.Errorf("items (-got +want):\n%s", diff)
	}
	if items, err := jsontree.CutArray("[1,2,3,4", 2); err != nil || len(items) != 3 {
		t.Errorf("beyond the limit: got %v, %v, want 3 items", items, err)
	}
}

func TestCutRefuses(t *testing.T) {
	t.Parallel()
	for _, src := range []string{``, ` `, `[]`, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`, `{"a":[1}`, `{"a":"x}`, `{"a":1}}`, `{1:2}`} {
		if _, err := jsontree.CutObject(src); err == nil {
			t.Errorf("CutObject(%q): no error", src)
		}
	}
	for _, src := range []string{``, `{}`, `[`, `[1`, `[1,]`, `[,1]`, `[1]x`, `[{]`} {
		if _, err := jsontree.CutArray(src, 10); err == nil {
			t.Errorf("CutArray(%q): no error", src)
		}
	}
}

// FuzzParse: what the library of the standard takes is taken with the same
// meaning, and what is written is canonical.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,"x\n",null,true],"b":{}}`, `{"a":1,"a":2}`, `"\ud83d"`, "\"\x01\"", `[NaN]`, `{"a":"é"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		var tree jsontree.Tree
		err := tree.Parse(src, 0)
		if json.Valid([]byte(src)) && utf8.ValidString(src) && err != nil {
			var e *jsontree.Error
			if !errors.As(err, &e) || e.Problem != jsontree.TooDeep {
				t.Fatalf("valid JSON refused: %v", err)
			}
		}
		if err != nil {
			return
		}
		out := tree.Root().AppendCanonical(nil)
		if !json.Valid(out) || !utf8.Valid(out) {
			t.Fatalf("got %q, not JSON", out)
		}
		if json.Valid([]byte(src)) {
			sameMeaning(t, src, string(out))
		}
		if err := tree.Parse(string(out), 0); err != nil {
			t.Fatalf("own output refused: %v", err)
		}
		if again := tree.Root().AppendCanonical(nil); string(again) != string(out) {
			t.Fatalf("canonical form changes: %q, then %q", out, again)
		}
	})
}

// sameMeaning compares two texts as the standard library reads them, numbers by
// their digits. U+FFFD stands where half a surrogate pair stood, in both.
func sameMeaning(t *testing.T, a, b string) {
	t.Helper()
	var x, y any
	for s, v := range map[string]*any{a: &x, b: &y} {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		if err := d.Decode(v); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
	}
	if diff := cmp.Diff(x, y); diff != "" && a != b {
		t.Fatalf("meaning changed (-in +out):\n%s", diff)
	}
}

func TestBuilder(t *testing.T) {
	t.Parallel()
	var tree jsontree.Tree
	if err := tree.Parse(`{"b":1,"a":[2]}`, 0); err != nil {
		t.Fatal(err)
	}
	var b, other jsontree.Builder
	if got := b.String(); got != "" {
		t.Errorf("empty: got %q", got)
	}
	for key, v := range tree.Root().Members() {
		b.Add(key, v)
		other.Add(key, v)
	}
	other.AddText("c", []byte(`"x"`))
	b.Join(&other, "m.")
	if got, want := b.String(), `{"a":[2],"b":1,"c":"x","m.a":[2],"m.b":1}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// Few keys are searched, many are looked up; both find the same.
	var many jsontree.Builder
	for i := range 100 {
		key := strings.Repeat("k", i+1)
		if many.Has(key) {
			t.Errorf("has key %d before it was added", i)
		}
		many.AddText(key, []byte("1"))
		if !many.Has(key) {
			t.Errorf("has not key %d", i)
		}
	}
}

// TestWrongBeginning holds that a message shows no byte that a terminal would
// act on.
func TestWrongBeginning(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]string{
		"null": "begins with n instead of {", "\x1f\x8b\b": "begins with byte 0x1f instead of {", " \xe4\xb8\xad": "begins with byte 0xe4 instead of {",
	} {
		var wrong *jsontree.Error
		if _, err := jsontree.CutObject(src); !errors.As(err, &wrong) || wrong.Detail != want {
			t.Errorf("%q: got %v, want %s", src, err, want)
		}
	}
}
