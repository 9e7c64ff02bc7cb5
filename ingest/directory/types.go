package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Bounds of the settings of identifier types.
const (
	// MaxTypes bounds the types that have settings.
	MaxTypes = 200
	// MaxBlockedValues and MaxBlockedPatterns bound what one type blocks by its
	// settings; every value is held against every pattern.
	MaxBlockedValues   = 1_000
	MaxBlockedPatterns = 50
	// MaxPatternCharacters bounds one pattern.
	MaxPatternCharacters = 500
	// MaxTypeLimit bounds how many of one type a customer may have, if there is
	// a limit.
	MaxTypeLimit = 10_000
	maxStrength  = 100
)

// Types are the identifier types as they hold at one place of IDENTITY: those
// built in (see [Normalise]) and what settings change of them or add. The zero
// value, and nil, is what is built in. A Types never changes, and is safe for
// concurrent use.
//
// The log holds the settings, so that all gateways use the same. They say what
// new decisions come to; what was decided before stays. A type's kind and
// normal form are for ever: the one is told by its name, which whoever reads
// the log goes by, the other gave the hashes that are in it.
type Types struct {
	logged []*logv1.IdentifierType // by name
	own    map[string]*typeRule
}

// typeRule is what settings say of a type.
type typeRule struct {
	kind            kind
	custom          bool     // not built in
	pattern         *pattern // nil: none
	blocked         map[string]bool
	blockedPatterns []pattern
}

// pattern is held against the whole of a normalised value.
type pattern struct {
	text string
	re   *regexp.Regexp
}

func compile(text string) (pattern, error) {
	re, err := regexp.Compile(`^(?:` + text + `)$`)
	return pattern{text, re}, err
}

// ValueError tells that the settings of a type let a value name nobody. It is
// an [ErrBlocked].
type ValueError struct {
	Type, Value string
	Limit       string // what the value must be
}

// Error names the type, the value and the limit.
func (e *ValueError) Error() string {
	return fmt.Sprintf("%s %q names nobody by the settings of the type: wanted is %s", e.Type, e.Value, e.Limit)
}

// Unwrap returns ErrBlocked.
func (e *ValueError) Unwrap() error { return ErrBlocked }

// TypesError tells that settings of identifier types cannot hold beside what
// was logged under the former ones.
type TypesError struct{ Type, Problem string }

// Error names the type and what is wrong.
func (e *TypesError) Error() string { return fmt.Sprintf("identifier type %s: %s", e.Type, e.Problem) }

var formNames = [...]string{formPlain: "plain", formEmail: "email", formPhone: "phone", formDomain: "domain"}

func (f form) String() string { return formNames[f] }

func formByName(name string) (form, bool) {
	i := slices.Index(formNames[:], name)
	return form(max(i, 0)), i >= 0
}

// newTypes reads settings as they are logged.
func newTypes(logged []*logv1.IdentifierType) (*Types, error) {
	t := &Types{logged: logged, own: make(map[string]*typeRule, len(logged))}
	for _, l := range logged {
		r, err := newTypeRule(l)
		if err != nil {
			return nil, fmt.Errorf("identifier type %s: %w", l.GetName(), err)
		}
		t.own[l.GetName()] = r
	}
	return t, nil
}

func newTypeRule(l *logv1.IdentifierType) (*typeRule, error) {
	f, ok := formByName(l.GetNormaliser())
	if !ok {
		return nil, fmt.Errorf("normaliser %q: this program is older than the log", l.GetNormaliser())
	}
	_, builtin := kindOf(l.GetName())
	r := &typeRule{
		kind:   kind{strength: byte(l.GetStrength()), form: f, limit: int(l.GetLimit()), weak: l.GetRebindable(), company: l.GetCompany()},
		custom: !builtin, blocked: make(map[string]bool, len(l.GetBlocked())),
	}
	for _, value := range l.GetBlocked() {
		r.blocked[value] = true
	}
	if text := l.GetPattern(); text != "" {
		p, err := compile(text)
		if err != nil {
			return nil, fmt.Errorf("pattern: %w", err)
		}
		r.pattern = &p
	}
	for _, text := range l.GetBlockedPatterns() {
		p, err := compile(text)
		if err != nil {
			return nil, fmt.Errorf("blocked pattern: %w", err)
		}
		r.blockedPatterns = append(r.blockedPatterns, p)
	}
	return r, nil
}

// Logged are the settings as the log has them, by name: all types that are
// other than built in. It is not to be changed.
func (t *Types) Logged() []*logv1.IdentifierType {
	if t == nil {
		return nil
	}
	return t.logged
}

// encode is the store's row of them.
func (t *Types) encode() []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&logv1.IdentifierTypes{Types: t.Logged()})
	if err != nil {
		panic(fmt.Sprintf("not reached: settings that were read: %v", err))
	}
	return b
}

// readTypes reads the store's row; without one all is built in.
func readTypes(st store.Store) (*Types, error) {
	view := st.View()
	defer view.Close()
	b, err := view.Get(typesKey)
	if err != nil {
		return nil, fmt.Errorf("read identifier types: %w", err)
	}
	l := &logv1.IdentifierTypes{}
	if err := proto.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("row of identifier types: %w", err)
	}
	return newTypes(l.GetTypes())
}

func (t *Types) rule(typ string) *typeRule {
	if t == nil {
		return nil
	}
	return t.own[canonicalType(typ)]
}

// kind finds what the rules know of a type.
func (t *Types) kind(typ string) (kind, bool) {
	if r := t.rule(typ); r != nil {
		return r.kind, true
	}
	return kindOf(typ)
}

// normalise is [Normalise] under these settings. It does not ask which values
// they let name nobody: see admit.
func (t *Types) normalise(typ, value string) (string, kind, error) {
	k, ok := t.kind(typ)
	if !ok {
		return "", kind{}, t.unknown(typ)
	}
	normal, err := k.checked(typ, value)
	return normal, k, err
}

func (t *Types) unknown(typ string) error {
	wanted := "user_id, email, phone, anonymous_id, device_id, guest, <system>_id or company_*"
	if t != nil {
		for _, name := range slices.Sorted(maps.Keys(t.own)) {
			if t.own[name].custom {
				wanted = name + ", " + wanted
			}
		}
	}
	return fmt.Errorf("identifier type %q: %s wanted: %w", typ, wanted, ErrType)
}

// admit refuses a normalised value that names nobody by the settings.
func (t *Types) admit(typ, normal string) error {
	r := t.rule(typ)
	switch {
	case r == nil:
		return nil
	case r.pattern != nil && !r.pattern.re.MatchString(normal):
		return &ValueError{typ, normal, "a value of the pattern " + r.pattern.text}
	case r.blocked[normal]:
		return &ValueError{typ, normal, "none of the blocked values"}
	}
	for _, p := range r.blockedPatterns {
		if p.re.MatchString(normal) {
			return &ValueError{typ, normal, "none of the blocked pattern " + p.text}
		}
	}
	return nil
}

// accepts refuses settings that would take something from what is logged: a
// type that events name, or its normal form.
func (t *Types) accepts(next *Types) error {
	if t == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(t.own)) {
		r := t.own[name]
		if !r.custom {
			continue
		}
		switch n := next.rule(name); {
		case n == nil:
			return &TypesError{name, "the log has it, and the settings do not; it cannot be taken away, for events may name customers by it. " +
				"To take no more of it, give it a pattern that nothing matches, as [^\\s\\S]"}
		case n.kind.form != r.kind.form:
			return &TypesError{name, fmt.Sprintf("normaliser %s, the log has it with %s; it cannot be changed, for the hashes in the log were made by it", n.kind.form, r.kind.form)}
		}
	}
	return nil
}

func (t *Types) equal(o *Types) bool {
	return slices.EqualFunc(t.Logged(), o.Logged(), func(a, b *logv1.IdentifierType) bool { return proto.Equal(a, b) })
}

// TypeSetting is what somebody sets of one identifier type. What is not set is
// as built in, or as of the built-in type that is nearest.
type TypeSetting struct {
	Name            string
	Kind            string // "person" or "company", as the name says anyway
	Strength        int    // 1 to 100
	Exclusive       *bool  // true: limit 1; false: not exclusive where it is built in so
	Rebindable      *bool
	Limit           *int // 0: none
	Normaliser      string
	Pattern         string // RE2, held against the whole of a normalised value
	Blocked         []string
	BlockedPatterns []string // RE2, as Pattern
}

// NewTypes makes types of settings. Its error is a *[TypesError] that names the
// type, the field, the value and the limit.
func NewTypes(settings []TypeSetting) (*Types, error) {
	if n := len(settings); n > MaxTypes {
		return nil, &TypesError{settings[MaxTypes].Name, fmt.Sprintf("%d types with settings, limit %d", n, MaxTypes)}
	}
	var logged []*logv1.IdentifierType
	seen := map[string]bool{}
	for _, s := range settings {
		l, err := s.resolve()
		if err != nil {
			return nil, &TypesError{s.Name, err.Error()}
		}
		if seen[s.Name] {
			return nil, &TypesError{s.Name, "set twice"}
		}
		seen[s.Name] = true
		if !isBuiltin(l) {
			logged = append(logged, l)
		}
	}
	slices.SortFunc(logged, func(a, b *logv1.IdentifierType) int { return cmp.Compare(a.Name, b.Name) })
	if size, limit := proto.Size(&logv1.IdentifierTypes{Types: logged}), maxMessageBytes-messageOverhead; size > limit {
		largest := slices.MaxFunc(logged, func(a, b *logv1.IdentifierType) int { return cmp.Compare(proto.Size(a), proto.Size(b)) })
		return nil, &TypesError{largest.Name, fmt.Sprintf("the settings of all types are %d bytes, limit %d; it has most of them", size, limit)}
	}
	return newTypes(logged)
}

// isBuiltin reports whether settings come to what is built in.
func isBuiltin(l *logv1.IdentifierType) bool {
	k, ok := kindOf(l.GetName())
	return ok && proto.Equal(l, loggedKind(l.GetName(), k))
}

func loggedKind(name string, k kind) *logv1.IdentifierType {
	return &logv1.IdentifierType{
		Name: name, Company: k.company, Strength: uint32(k.strength), Rebindable: k.weak, Limit: uint32(k.limit), Normaliser: k.form.String(),
	}
}

// resolve fills in what is not set.
func (s *TypeSetting) resolve() (*logv1.IdentifierType, error) {
	k, err := s.base()
	if err != nil {
		return nil, err
	}
	if s.Rebindable != nil && *s.Rebindable != k.weak {
		if k.weak = *s.Rebindable; k.weak {
			k.strength, k.limit = kindWeak.strength, kindWeak.limit
		}
	}
	if s.Strength < 0 || s.Strength > maxStrength {
		return nil, fmt.Errorf("strength %d, 1 to %d wanted", s.Strength, maxStrength)
	}
	if s.Strength > 0 {
		k.strength = byte(s.Strength)
	}
	if k.limit, err = s.limit(k); err != nil {
		return nil, err
	}
	l := loggedKind(s.Name, k)
	return l, s.values(l, k)
}

// base is the kind that the settings start from.
func (s *TypeSetting) base() (kind, error) {
	switch {
	case s.Name == groupID:
		return kind{}, errors.New("it is another spelling of company_id; set that")
	case s.Name == "company":
		return kind{}, errors.New("it would name persons: the types of companies begin with company_, as company_id")
	case !typePattern.MatchString(s.Name) || strings.Trim(s.Name, "_") != s.Name:
		return kind{}, errors.New("1 to 40 of a-z, 0-9 and _ wanted, no _ at an end")
	}
	if company := events.NamesCompany(s.Name); s.Kind != "" && s.Kind != kindName(company) {
		switch {
		case s.Kind != kindName(true) && s.Kind != kindName(false):
			return kind{}, fmt.Errorf("kind %q, person or company wanted", s.Kind)
		case company:
			return kind{}, errors.New("kind person: a type that begins with company_ names companies")
		}
		return kind{}, fmt.Errorf("kind company: the types of companies begin with company_, as company_%s", s.Name)
	}
	k, builtin := kindOf(s.Name)
	if s.Normaliser == "" {
		if !builtin {
			k = kindSystem
		}
		return k, nil
	}
	f, ok := formByName(s.Normaliser)
	switch {
	case !ok:
		return kind{}, fmt.Errorf("normaliser %q, one of %s wanted", s.Normaliser, strings.Join(formNames[:], ", "))
	case builtin && f != k.form:
		return kind{}, fmt.Errorf("normaliser %s: it is built in with %s, which cannot be changed: the hashes in a log are made by it", f, k.form)
	case !builtin:
		k = [...]kind{formPlain: kindSystem, formEmail: kindEmail, formPhone: kindPhone, formDomain: kindCompanyDomain}[f]
		k.company = false // those of companies are all built in
	}
	return k, nil
}

func kindName(company bool) string {
	if company {
		return "company"
	}
	return "person"
}

func (s *TypeSetting) limit(k kind) (int, error) {
	exclusive := s.Exclusive != nil && *s.Exclusive
	switch {
	case s.Limit != nil && (*s.Limit < 0 || *s.Limit > MaxTypeLimit):
		return 0, fmt.Errorf("limit %d, 1 to %d or none wanted", *s.Limit, MaxTypeLimit)
	case exclusive && s.Limit != nil && *s.Limit != 1:
		return 0, fmt.Errorf("exclusive with a limit of %d: exclusive is a limit of 1", *s.Limit)
	case s.Exclusive != nil && !exclusive && s.Limit != nil && *s.Limit == 1:
		return 0, errors.New("not exclusive with a limit of 1: that is exclusive")
	case s.Limit != nil:
		k.limit = *s.Limit
	case exclusive:
		k.limit = 1
	case s.Exclusive != nil && k.limit == 1:
		k.limit = defaultLimit
	}
	if k.weak && k.exclusive() {
		return 0, errors.New("rebindable and exclusive: who has a second device would be a second customer")
	}
	return k.limit, nil
}

// values checks which values name somebody.
func (s *TypeSetting) values(l *logv1.IdentifierType, k kind) error {
	if err := checkPattern("pattern", s.Pattern); err != nil {
		return err
	}
	l.Pattern = s.Pattern
	if n := len(s.BlockedPatterns); n > MaxBlockedPatterns {
		return fmt.Errorf("blocked_patterns: %d, limit %d", n, MaxBlockedPatterns)
	}
	for _, p := range s.BlockedPatterns {
		if p == "" {
			return errors.New("blocked_patterns: an empty one")
		}
		if err := checkPattern("blocked_patterns", p); err != nil {
			return err
		}
	}
	l.BlockedPatterns = unique(slices.Clone(s.BlockedPatterns))
	if n := len(s.Blocked); n > MaxBlockedValues {
		return fmt.Errorf("blocked: %d values, limit %d", n, MaxBlockedValues)
	}
	for _, value := range s.Blocked {
		normal, err := k.checked(s.Name, value)
		switch {
		case errors.Is(err, ErrBlocked): // names nobody as it is
		case err != nil:
			return fmt.Errorf("blocked: %w", err)
		default:
			l.Blocked = append(l.Blocked, normal)
		}
	}
	l.Blocked = unique(l.Blocked)
	return nil
}

func checkPattern(field, text string) error {
	if n := len([]rune(text)); n > MaxPatternCharacters {
		return fmt.Errorf("%s of %d characters, limit %d", field, n, MaxPatternCharacters)
	}
	// On its own first: brackets that do not close must not find their ends in
	// what is put around it.
	if _, err := regexp.Compile(text); err != nil {
		return fmt.Errorf("%s %s: no RE2: %w", field, text, err)
	}
	return nil
}

// unique sorts texts and drops repeats, so that equal settings are equal bytes.
func unique(texts []string) []string {
	slices.Sort(texts)
	return slices.Compact(texts)
}

// PublishTypes makes these types hold from here on, for all gateways, unless
// they hold already, and reports whether it had to be said. The directory must
// be running. Errors: a *[TypesError] where they cannot follow what holds,
// ErrNotReady, those of the log, ctx.Err().
//
// Nothing is decided again: a customer who has more of a type than the new
// limit keeps them, and whoever an identifier named that is blocked now, it
// finds him still.
func (d *Directory) PublishTypes(ctx context.Context, types *Types, why *logv1.Why) (bool, error) {
	if err := d.waitReady(ctx); err != nil {
		return false, fmt.Errorf("publish identifier types: %w", err)
	}
	began, pause := time.Now(), retryFirst
	for {
		current, seq := d.typesAt()
		if current.equal(types) {
			return false, nil
		}
		if err := current.accepts(types); err != nil {
			return false, err
		}
		at, err := d.appendTypes(ctx, seq, &logv1.IdentifierTypes{Types: types.Logged(), Why: why})
		if err == nil {
			return true, d.reach(ctx, at)
		}
		switch {
		case time.Since(began) > maxAppend:
			return false, fmt.Errorf("%w: %w", ErrNotReady, err)
		case errors.Is(err, events.ErrConflict):
		case errors.Is(err, events.ErrUnknown), errors.Is(err, events.ErrOverload):
			if !sleep(ctx, pause) {
				return false, ctx.Err()
			}
			pause = min(2*pause, retryLast)
		default:
			return false, err
		}
		if err := d.catchUp(ctx); err != nil {
			return false, fmt.Errorf("publish identifier types: %w", err)
		}
	}
}

// typesAt returns the types that hold, and where they do.
func (d *Directory) typesAt() (*Types, uint64) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.types.Load(), d.cp.seq
}

// appendTypes says the types where nothing was said after seq. It may meet an
// append of the decider, of which one is refused then and tried again.
func (d *Directory) appendTypes(ctx context.Context, seq uint64, types *logv1.IdentifierTypes) (uint64, error) {
	batch := d.o.Minter.Mint()
	frame, err := events.Seal(&logv1.Identity{
		Gateway: d.o.Gateway, Batch: batch[:], Content: &logv1.Identity_Bindings{Bindings: &logv1.Bindings{
			Decisions: []*logv1.Decision{{Decision: &logv1.Decision_IdentifierTypes{IdentifierTypes: types}}},
		}},
	})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	at, err := d.o.Log.Append(ctx, events.IdentityStream, events.SubjectBind, frame, events.ExpectLast(seq))
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in %v: %w", appendTimeout, events.ErrUnknown)
	}
	if err != nil {
		return 0, fmt.Errorf("append identifier types at %d: %w", seq, err)
	}
	return at, nil
}

// catchUp folds what the log has by now. That the log does not answer is left
// to the next append to tell.
func (d *Directory) catchUp(ctx context.Context) error {
	info, err := d.end(ctx)
	switch {
	case errors.Is(err, errLog):
		return ctx.Err()
	case err != nil:
		return err
	}
	return d.reach(ctx, info.Last)
}

// waitReady waits until the directory is ready, unless it has stopped.
func (d *Directory) waitReady(ctx context.Context) error {
	for {
		d.mu.RLock()
		err, changed := d.readyLocked(), d.changed
		d.mu.RUnlock()
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-d.stopped:
			return fmt.Errorf("%w: stopped", ErrNotReady)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
