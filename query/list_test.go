package query_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/columns"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
	"github.com/dossier360/dossier/query"
)

// Outline and Rows make a leaf what lists ask of a view.
func (l *leaf) Outline(c events.CustomerID) (*statev1.Head, error) { return l.Head(c) }

// Part goes through the bytes of a store, so that what is not read is not there.
func (l *leaf) Part(c events.CustomerID, part projections.Part) (*statev1.Head, error) {
	head, err := l.Head(c)
	if err != nil {
		return nil, err
	}
	value, err := proto.Marshal(head)
	if err != nil {
		return nil, err
	}
	return part.Decode(value)
}

func (l *leaf) Parts(wanted func(events.CustomerID) (projections.Part, bool), fn func(events.CustomerID, *statev1.Head) error) error {
	l.s.partsRead.Add(1)
	for _, c := range slices.SortedFunc(maps.Keys(l.s.heads), events.CustomerID.Compare) {
		part, ok := wanted(c)
		if !ok {
			continue
		}
		head, err := l.Part(c, part)
		if err != nil {
			return err
		}
		if err := fn(c, head); err != nil {
			return err
		}
	}
	return nil
}

func (l *leaf) Rows() (*columns.Table, error) {
	if l.s.noRows {
		return nil, fmt.Errorf("reading customers, 3 of 9: %w", projections.ErrCatchingUp)
	}
	rows := make([]*columns.Row, 0, len(l.s.heads))
	for id, head := range l.s.heads {
		rows = append(rows, columns.Of(id, head, l.s.env))
	}
	return columns.NewWriter(rows).Table(), nil
}

// add puts a head into its partition.
func (d *desk) add(id events.CustomerID, head *statev1.Head) {
	shelf := d.partitions[id.Partition(partitions)]
	if shelf.heads[id] == nil {
		shelf.checkpoint.Customers++
	}
	shelf.heads[id] = head
}

// TestFilters asks the filters of testdata/filters.txt. Commands:
//
//	customer NAME         a head as JSON
//	filter                who is left, and whether rows or profiles were asked
//	wrong                 the message, and the filter with a caret at its place
//	order FIELD           who comes in which order
//
// Every filter is asked in both ways, which must agree.
func TestFilters(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	names := map[string]string{} // by id
	client, _ := d.serve(t)
	right, wrong := 0, 0
	datadriven.RunTest(t, "testdata/filters.txt", func(t *testing.T, data *datadriven.TestData) string {
		text := strings.TrimRight(data.Input, "\n")
		switch data.Cmd {
		case "customer":
			id := events.CustomerID{0: 1, 15: byte(len(names) + 1)}
			names[id.String()] = data.CmdArgs[0].Key
			head := &statev1.Head{Journal: &statev1.Journal{}}
			if err := protojson.Unmarshal([]byte(text), head); err != nil {
				data.Fatalf(t, "%v", err)
			}
			d.add(id, head)
			return ""
		case "filter":
			right++
			left := leaves(t, d, names, text)
			resp, err := client.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{Filter: text})
			if err != nil || int(resp.GetCount()) != len(strings.Fields(left[:strings.LastIndex(left, "(")])) {
				t.Errorf("%s: %d counted (%v), want %s", text, resp.GetCount(), err, left)
			}
			return left
		case "wrong":
			wrong++
			_, err := query.CompileFilter(text, d.partitions[0].env.Zone)
			if err == nil {
				data.Fatalf(t, "%s: right, want it wrong", text)
			}
			return err.Error() + "\n" + caret(t, text, err)
		case "order":
			resp, err := client.ListProfiles(t.Context(), &queryv1.ListProfilesRequest{OrderBy: text, Fields: []string{"name"}})
			if err != nil {
				return err.Error() + "\n"
			}
			var shown []string
			for _, p := range resp.GetProfiles() {
				shown = append(shown, names[p.GetCustomerId()])
			}
			return strings.Join(shown, " ") + "\n"
		}
		data.Fatalf(t, "unknown command %s", data.Cmd)
		return ""
	})
	if right < 40 || wrong < 20 {
		t.Errorf("%d right and %d wrong filters, want 40 and 20", right, wrong)
	}
}

// leaves asks a filter of everybody, in both ways.
func leaves(t *testing.T, d *desk, names map[string]string, text string) string {
	t.Helper()
	f, err := query.CompileFilter(text, d.partitions[0].env.Zone)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	now := events.FromMicros(d.partitions[0].settled)
	var left, fell []string // fell: to the profile
	for _, s := range d.partitions {
		view := &leaf{s}
		for id, head := range s.heads {
			split, byProfile, err := f.Split(columns.Of(id, head, s.env), view, now)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			whole, err := f.Whole(query.Render(id, head, view), now)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if split != whole {
				t.Errorf("%s: %s: %v by what lists ask, %v by the whole profile", text, names[id.String()], split, whole)
			}
			if byProfile {
				fell = append(fell, names[id.String()])
			}
			if whole {
				left = append(left, names[id.String()])
			}
		}
	}
	slices.Sort(left)
	slices.Sort(fell)
	asked := map[[2]bool]string{{true, true}: "rows, then profiles", {true, false}: "rows", {false, true}: "profiles"}[[2]bool{f.OnRows(), f.OnProfiles()}]
	if !f.OnProfiles() && len(fell) > 0 {
		asked += ", and the profiles of " + strings.Join(fell, " ")
	}
	return fmt.Sprintf("%s  (%s)\n", strings.Join(append(left, ""), " ")[:max(0, len(strings.Join(left, " ")))], asked)
}

// caret shows the place that an error names.
func caret(t *testing.T, text string, err error) string {
	t.Helper()
	var line, column int
	_, place, _ := strings.Cut(err.Error(), "line ")
	if _, err := fmt.Sscanf(place, "%d, column %d:", &line, &column); err != nil {
		t.Fatalf("%q names no place", err)
	}
	shown := strings.Split(text, "\n")[line-1]
	if column < 1 || column > utf8.RuneCountInString(shown)+1 {
		t.Fatalf("column %d of a line of %d characters", column, utf8.RuneCountInString(shown))
	}
	var pad strings.Builder
	for _, c := range []rune(shown)[:column-1] {
		pad.WriteString(strings.Repeat(" ", 1+min(1, len(string(c))/2))) // wide characters take two columns
	}
	return shown + "\n" + pad.String() + "^\n"
}
