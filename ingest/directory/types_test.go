package directory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

func parseTypes(t testing.TB, text string) *directory.Types {
	t.Helper()
	types, err := directory.ParseTypes([]byte(text))
	if err != nil {
		t.Fatalf("parse:\n%s\n%v", text, err)
	}
	return types
}

func TestBuiltinTypes(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]string{
		"user_id":            "person plain, strength 90, limit 1",
		"crm_id":             "person plain, strength 70, limit 5",
		"email":              "person email, strength 50, limit 5",
		"work_email":         "person email, strength 50, limit 5",
		"phone":              "person phone, strength 40, limit 5",
		"anonymous_id":       "person plain, strength 10, no limit, rebindable",
		"device_id":          "person plain, strength 10, no limit, rebindable",
		"guest":              "person plain, strength 10, no limit, rebindable",
		"company_id":         "company plain, strength 90, limit 1",
		"group_id":           "company plain, strength 90, limit 1",
		"company_vat":        "company plain, strength 70, limit 5",
		"company_domain":     "company domain, strength 50, limit 5",
		"company_email":      "company email, strength 40, limit 5",
		"company_main_phone": "company phone, strength 30, limit 5",
		"loyalty":            "unknown",
		"company_":           "unknown",
	} {
		if got := new(directory.Types).Describe(typ); got != want {
			t.Errorf("%s: got %s, want %s", typ, got, want)
		}
		if got := (*directory.Types)(nil).Describe(typ); got != want {
			t.Errorf("%s of no settings: got %s, want %s", typ, got, want)
		}
	}
}

func TestTypeSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ typ, settings, want string }{
		{"email", "{limit: 2}", "person email, strength 50, limit 2"},
		{"email", "{exclusive: true}", "person email, strength 50, limit 1"},
		{"email", "{limit: none}", "person email, strength 50, no limit"},
		{"email", "{rebindable: true}", "person email, strength 10, no limit, rebindable"},
		{"email", "{rebindable: true, strength: 45, limit: 9}", "person email, strength 45, limit 9, rebindable"},
		{"user_id", "{exclusive: false}", "person plain, strength 90, limit 5"},
		{"user_id", "{kind: person, normaliser: plain}", "person plain, strength 90, limit 1"},
		{"device_id", "{rebindable: false}", "person plain, strength 10, no limit"},
		{"loyalty", "{}", "person plain, strength 70, limit 5"},
		{"loyalty", "{normaliser: email}", "person email, strength 50, limit 5"},
		{"loyalty", "{normaliser: phone}", "person phone, strength 40, limit 5"},
		{"loyalty", "{normaliser: domain}", "person domain, strength 50, limit 5"},
		{"loyalty", "{strength: 100, exclusive: true}", "person plain, strength 100, limit 1"},
		{"kiosk", "{rebindable: true}", "person plain, strength 10, no limit, rebindable"},
		{"company_vat", "{kind: company, exclusive: true}", "company plain, strength 70, limit 1"},
		{"company_sales_domain", "{limit: 1}", "company domain, strength 50, limit 1"},
	} {
		types := parseTypes(t, "identifiers:\n  "+c.typ+": "+c.settings)
		if got := types.Describe(c.typ); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.typ, c.settings, got, c.want)
		}
	}
}

// TestTypesAreCanonical holds that settings which mean the same are logged the
// same, so that they are not published again, and that what is built in is not
// logged at all.
func TestTypesAreCanonical(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"identifiers:", "identifiers: {}", "identifiers: {email: {}}", "identifiers: {user_id: {exclusive: true, strength: 90}}",
		"identifiers: {email: {blocked: [' NULL ', 'none', 'no at']}}", // blocked as they are
	} {
		if logged := parseTypes(t, text).Logged(); len(logged) != 0 {
			t.Errorf("%s: logs %v, want nothing", text, logged)
		}
	}
	a := parseTypes(t, `
identifiers:
  phone: {blocked: ["+86 138-0013-8000", 02087654321, "020 8765 4321"], blocked_patterns: [b.*, a.*]}
  email: {limit: 1}
`)
	b := parseTypes(t, `
identifiers:
  email: {exclusive: true}
  phone: {blocked: ["02087654321", 13800138000], blocked_patterns: [a.*, b.*, a.*]}
`)
	if d := cmp.Diff(fmt.Sprint(a.Logged()), fmt.Sprint(b.Logged())); d != "" {
		t.Errorf("two spellings of the same settings (-one +other):\n%s", d)
	}
}

func TestTypesAreRefused(t *testing.T) {
	t.Parallel()
	many := func(n int) string {
		return strings.TrimSuffix(strings.Repeat("x,", n), ",")
	}
	for _, c := range []struct{ text, want string }{
		{"", "it is empty; the key identifiers is wanted"},
		{"# nothing", "it is empty"},
		{"a: [", "yaml: line 1"},
		{"identifiers: {}\n---\nidentifiers: {}", "more than one YAML document"},
		{"types: {}", `line 1: the document: unknown key "types"; there are identifiers`},
		{"identifier: {}", `unknown key "identifier"; identifiers is near`},
		{"identifiers:\n  - email", "line 2: identifiers is a list; a mapping is wanted"},
		{"identifiers:\n  email: 5", `line 2: identifier type email is "5"; a mapping is wanted`},
		{"identifiers:\n  email:", "line 2: identifier type email is nothing; a mapping is wanted"},
		{"identifiers:\n  email: {}\n  email: {}", "line 3: identifiers: email stands twice"},
		{"identifiers:\n  email:\n    limt: 3", `line 3: identifier type email: unknown key "limt"; limit is near`},
		{"identifiers:\n  email:\n    Normalizer: plain", `unknown key "Normalizer"; normaliser is near`},
		{"identifiers:\n  email:\n    zzzzzzzzz: 1", "; there are kind, strength,"},
		{"identifiers:\n  email:\n    limit: few", `line 3: identifier type email: limit: is "few"; a whole number or none is wanted`},
		{"identifiers:\n  email:\n    limit: 0", "limit: 0, 1 to 10000 or none wanted"},
		{"identifiers:\n  email:\n    limit: 10001", "limit 10001, 1 to 10000 or none wanted"},
		{"identifiers:\n  email:\n    strength: 0", "strength: 0, 1 to 100 wanted"},
		{"identifiers:\n  email:\n    strength: 101", "line 3: identifier type email: strength 101, 1 to 100 wanted"},
		{"identifiers:\n  email:\n    exclusive: perhaps", "exclusive: is \"perhaps\"; true or false is wanted"},
		{"identifiers:\n  email: {exclusive: true, limit: 3}", "exclusive with a limit of 3"},
		{"identifiers:\n  email: {exclusive: false, limit: 1}", "not exclusive with a limit of 1"},
		{"identifiers:\n  kiosk: {exclusive: true, rebindable: true}", "rebindable and exclusive"},
		{"identifiers:\n  email: {kind: human}", `kind "human", person or company wanted`},
		{"identifiers:\n  company_id: {kind: person}", "begins with company_ names companies"},
		{"identifiers:\n  vat: {kind: company}", "begin with company_, as company_vat"},
		{"identifiers:\n  company: {}", "begin with company_, as company_id"},
		{"identifiers:\n  group_id: {}", "another spelling of company_id"},
		{"identifiers:\n  E-mail: {}", "identifier type E-mail: 1 to 40 of a-z, 0-9 and _ wanted"},
		{"identifiers:\n  _id: {}", "no _ at an end"},
		{"identifiers:\n  " + strings.Repeat("a", 41) + ": {}", "1 to 40 of"},
		{"identifiers:\n  email: {normaliser: plain}", "normaliser plain: it is built in with email, which cannot be changed"},
		{"identifiers:\n  crm_id: {normaliser: email}", "normaliser email: it is built in with plain"},
		{"identifiers:\n  card: {normaliser: upper}", `normaliser "upper", one of plain, email, phone, domain wanted`},
		{"identifiers:\n  card:\n    pattern: '[0-9'", "pattern [0-9: no RE2: "},
		{"identifiers:\n  card:\n    pattern: 'a)(b'", "pattern a)(b: no RE2: "},
		{"identifiers:\n  card:\n    pattern: " + strings.Repeat("a", 501), "pattern of 501 characters, limit 500"},
		{"identifiers:\n  card:\n    blocked_patterns: ['']", `line 3: a value is ""; a text is wanted`},
		{"identifiers:\n  card:\n    blocked_patterns: [" + many(51) + "]", "blocked_patterns: 51, limit 50"},
		{"identifiers:\n  card:\n    blocked: [" + many(1001) + "]", "blocked: 1001 values, limit 1000"},
		{"identifiers:\n  card:\n    blocked: {a: b}", "is a mapping; a text is wanted"},
		{"identifiers:\n  card:\n    blocked: [" + strings.Repeat("x", 201) + "]", "card of 201 characters, limit 200"},
		{strings.Repeat("#", directory.MaxTypesBytes+1), "1048577 bytes, limit 1048576"},
	} {
		types, err := directory.ParseTypes([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80q: got %v, %v; want an error with %q", c.text, types.Logged(), err, c.want)
		}
	}
}

// TestTypesBounds takes as many as the bounds allow, and not one more.
func TestTypesBounds(t *testing.T) {
	t.Parallel()
	settings := func(n int) []directory.TypeSetting {
		all := make([]directory.TypeSetting, n)
		for i := range all {
			all[i].Name = fmt.Sprintf("t%d", i)
		}
		return all
	}
	if types, err := directory.NewTypes(settings(directory.MaxTypes)); err != nil || len(types.Logged()) != directory.MaxTypes {
		t.Errorf("%d types: got %d, %v", directory.MaxTypes, len(types.Logged()), err)
	}
	if _, err := directory.NewTypes(settings(directory.MaxTypes + 1)); err == nil || !strings.Contains(err.Error(), "201 types with settings, limit 200") {
		t.Errorf("one type too many: got %v", err)
	}
	large := settings(2)
	for i := range directory.MaxBlockedValues {
		large[1].Blocked = append(large[1].Blocked, fmt.Sprintf("%0200d", i+1))
	}
	if _, err := directory.NewTypes(large); err != nil {
		t.Errorf("one type with %d long values: %v", directory.MaxBlockedValues, err)
	}
	large[0].Blocked = large[1].Blocked
	_, err := directory.NewTypes(large)
	if wrong, ok := errors.AsType[*directory.TypesError](err); !ok || !strings.Contains(wrong.Problem, "limit 26") {
		t.Errorf("settings too large for a message: got %v", err)
	}
}

const shopTypes = `
identifiers:
  email:
    blocked: [Info@Example.com]
    blocked_patterns: ["(no-?reply|test).*"]
  loyalty:
    strength: 60
    exclusive: true
    pattern: "[0-9]{8}"
`

// TestTwoGatewaysShareTypes: what one publishes the other decides by, a repeat
// says nothing, and a restart, and a lost store, find it again.
func TestTwoGatewaysShareTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := found(t, memlog.Options{})
		one, other := store.OpenMemory(), store.OpenMemory()
		a, b := start(t, log, memory(&one)), start(t, log, memory(&other))
		if _, err := b.Identify("loyalty", "12345678"); !errors.Is(err, directory.ErrType) {
			t.Errorf("a type that is not set: got %v, want ErrType", err)
		}
		ann := resolve(t, b, b.set(t, [2]string{"email", "info@example.com"}))
		types := parseTypes(t, shopTypes)
		why := &logv1.Why{Rule: "settings", Actor: "ops"}
		for i, want := range []bool{true, false} {
			if changed, err := a.PublishTypes(t.Context(), types, why); changed != want || err != nil {
				t.Errorf("publish %d: got %v, %v; want %v", i, changed, err, want)
			}
		}
		synctest.Wait()
		if changed, err := b.PublishTypes(t.Context(), types, why); changed || err != nil {
			t.Errorf("the other publishes the same: got %v, %v", changed, err)
		}
		checkShopTypes(t, b)
		if c, ok, err := b.Lookup("email", "info@example.com"); c != ann || !ok || err != nil {
			t.Errorf("who was named by what is blocked now: got %v, %v, %v; want %v", c, ok, err, ann)
		}
		_, last := decisions(t, log, 0)
		if got := identity(t, log, last).GetBindings().GetDecisions()[0].GetIdentifierTypes(); got.GetWhy().GetActor() != "ops" || len(got.GetTypes()) != 2 {
			t.Errorf("logged: got %v", got)
		}
		b.stop()
		a.stop()
		b = start(t, log, memory(&other))
		checkShopTypes(t, b) // at once: by the store
		b.stop()
		rows := dump(t, other)
		other = store.OpenMemory()
		b = start(t, log, memory(&other))
		synctest.Wait()
		checkShopTypes(t, b)
		b.stop()
		if d := cmp.Diff(rows, dump(t, other)); d != "" {
			t.Errorf("store rebuilt (-before +after):\n%s", d)
		}
	})
}

func resolve(t testing.TB, g *gateway, r directory.Request) events.CustomerID {
	t.Helper()
	synctest.Wait()
	addresses, err := g.Resolve(t.Context(), []directory.Request{r})
	if err != nil {
		t.Fatalf("resolve: %v", err)
	}
	return addresses[0].Customer
}

func checkShopTypes(t testing.TB, g *gateway) {
	t.Helper()
	for _, c := range []struct{ typ, value, limit string }{
		{"loyalty", "12345678", ""},
		{"loyalty", "1234567", "a value of the pattern [0-9]{8}"},
		{"loyalty", "123456789", "a value of the pattern [0-9]{8}"},
		{"email", "ann@example.com", ""},
		{"email", "INFO@example.com ", "none of the blocked values"},
		{"email", "no-reply@example.com", "none of the blocked pattern (no-?reply|test).*"},
		{"email", "my.test@example.com", ""},
		{"work_email", "info@example.com", ""}, // another type
	} {
		id, err := g.Identify(c.typ, c.value)
		refused, _ := errors.AsType[*directory.ValueError](err)
		switch {
		case c.limit == "" && (err != nil || id.Value == ""):
			t.Errorf("%s %q: got %v", c.typ, c.value, err)
		case c.limit != "" && (refused == nil || refused.Limit != c.limit || refused.Type != c.typ || !errors.Is(err, directory.ErrBlocked)):
			t.Errorf("%s %q: got %v; want a value error with the limit %q", c.typ, c.value, err, c.limit)
		}
	}
	if got, want := g.Types().Describe("loyalty"), "person plain, strength 60, limit 1"; got != want {
		t.Errorf("loyalty: got %s, want %s", got, want)
	}
}

// TestTypesThatCannotFollow: what the log has a type for, and its hashes, stays.
func TestTypesThatCannotFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := found(t, memlog.Options{})
		m := store.OpenMemory()
		g := start(t, log, memory(&m))
		defer g.stop()
		publish := func(text string) error {
			_, err := g.PublishTypes(t.Context(), parseTypes(t, text), nil)
			return err
		}
		if err := publish("identifiers: {email: {limit: 2}, card: {normaliser: phone}}"); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ text, want string }{
			{"identifiers:", "identifier type card: the log has it, and the settings do not"},
			{"identifiers: {card: {}}", "identifier type card: normaliser plain, the log has it with phone"},
		} {
			err := publish(c.text)
			if _, ok := errors.AsType[*directory.TypesError](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want an error with %q", c.text, err, c.want)
			}
		}
		if err := publish("identifiers: {card: {normaliser: phone, limit: 1}}"); err != nil {
			t.Errorf("another limit, and no settings of a type that is built in: %v", err)
		}
		if got, want := g.Types().Describe("email"), "person email, strength 50, limit 5"; got != want {
			t.Errorf("email: got %s, want %s", got, want)
		}
	})
}

// TestPublishTypesThroughFaults: an append that another came before, of which
// the answer was lost, or that failed, says it once.
func TestPublishTypesThroughFaults(t *testing.T) {
	for _, fault := range []struct {
		name string
		memlog.Fault
	}{
		{"lost answer", memlog.Fault{Err: events.ErrUnknown, Stored: true}},
		{"lost message", memlog.Fault{Err: events.ErrUnknown}},
		{"overload", memlog.Fault{Err: events.ErrOverload}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var appends atomic.Int32
				log := found(t, memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
					if op.Kind == memlog.OpAppend && appends.Add(1) == 1 {
						return fault.Fault
					}
					return memlog.Fault{}
				}})
				m := store.OpenMemory()
				g := start(t, log, memory(&m))
				defer g.stop()
				if _, err := g.PublishTypes(t.Context(), parseTypes(t, shopTypes), nil); err != nil {
					t.Fatal(err)
				}
				checkShopTypes(t, g)
				all, _ := decisions(t, log, 0)
				if len(all) != 1 {
					t.Errorf("logged %d decisions, want 1: %v", len(all), all)
				}
			})
		})
	}
}

// TestPublishTypesRace: of gateways that publish the same at once one says it,
// while customers are decided.
func TestPublishTypesRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := found(t, memlog.Options{})
		types := parseTypes(t, shopTypes)
		const gateways = 3
		done := make(chan error, 2*gateways)
		var said atomic.Int32
		for n := range gateways {
			m := store.OpenMemory()
			g := start(t, log, memory(&m))
			defer g.stop()
			synctest.Wait()
			r := g.set(t, [2]string{"user_id", fmt.Sprint("u", n)})
			go func() {
				changed, err := g.PublishTypes(context.Background(), types, nil)
				if changed {
					said.Add(1)
				}
				done <- err
			}()
			go func() {
				_, err := g.Resolve(context.Background(), []directory.Request{r})
				done <- err
			}()
		}
		for range 2 * gateways {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		all, _ := decisions(t, log, 0)
		if said.Load() != 1 || len(all) != 1+gateways {
			t.Errorf("said by %d gateways, %d decisions; want 1 and %d", said.Load(), len(all), 1+gateways)
		}
	})
}

// TestPublishTypesStopped: a directory that has stopped publishes nothing.
func TestPublishTypesStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := found(t, memlog.Options{})
		m := store.OpenMemory()
		g := start(t, log, memory(&m))
		g.stop()
		if _, err := g.PublishTypes(t.Context(), parseTypes(t, shopTypes), nil); !errors.Is(err, directory.ErrNotReady) {
			t.Errorf("got %v, want ErrNotReady", err)
		}
	})
}

func FuzzParseTypes(f *testing.F) {
	f.Add(shopTypes)
	f.Add("identifiers: {email: &a {limit: 2}, work_email: *a}")
	f.Add("identifiers: {card: {normaliser: phone, blocked: [13800138000], rebindable: true}}")
	f.Fuzz(func(t *testing.T, text string) {
		types, err := directory.ParseTypes([]byte(text))
		if err != nil {
			return
		}
		var again []directory.TypeSetting
		for _, l := range types.Logged() {
			limit := int(l.Limit)
			again = append(again, directory.TypeSetting{
				Name: l.Name, Strength: int(l.Strength), Rebindable: &l.Rebindable, Limit: &limit, Normaliser: l.Normaliser,
				Pattern: l.Pattern, Blocked: l.Blocked, BlockedPatterns: l.BlockedPatterns,
			})
		}
		same, err := directory.NewTypes(again)
		if err != nil {
			t.Fatalf("what was logged is refused: %v", err)
		}
		if d := cmp.Diff(fmt.Sprint(types.Logged()), fmt.Sprint(same.Logged())); d != "" {
			t.Fatalf("logged, and set by what was logged:\n%s", d)
		}
	})
}
