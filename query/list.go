package query

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/profile"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// The limits of lists, each with its unit and reason.
const (
	// MaxFilterCharacters bounds a filter, an order, the name of a field.
	MaxFilterCharacters = 4_000
	// MaxFilterSteps bounds what a filter that loops may take of one customer,
	// in units of CEL's cost: some ten milliseconds.
	MaxFilterSteps = 100_000
	// MaxListTime bounds one list or count: the machine is not its alone.
	MaxListTime = 30 * time.Second
	// MaxFields bounds the fields that a list may name.
	MaxFields = 100
	// MaxScans bounds the lists, counts and searches that go through all
	// customers at once: each takes a processor for every partition.
	MaxScans = 4
	// MaxScanWait bounds how long one waits for its place among those.
	MaxScanWait = 10 * time.Second

	maxFilterDepth = 50    // of parentheses and calls
	maxFilterNodes = 2_000 // of the expression, macros written out
	maxFilterLoops = 2     // in each other

	rowsPerLook     = 1024 // rows looked at before it is asked whether anybody waits
	slowRowsPerLook = 16   // the same of rows of which a filter that loops is asked
	headsPerLook    = 16   // and of heads

	// Profiles are read one by one as they are met, since those of a page rule
	// others out: so many, or a share of all customers, whichever is more. The
	// others are read in the order of the store, which costs a tenth each, but
	// passes over everybody.
	minAtOnce   = 64
	atOnceShare = 16
)

// ListProfiles implements queryv1connect.QueryServiceHandler.
func (s *service) ListProfiles(ctx context.Context, req *queryv1.ListProfilesRequest) (*queryv1.ListProfilesResponse, error) {
	page, err := s.parseList(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, MaxListTime)
	defer cancel()
	release, err := s.beginScan(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	sn := s.snapshot()
	defer sn.close()
	fresh, err := s.freshness(sn, s.every()...)
	if err != nil {
		return nil, err
	}
	tops := make([]*first, len(sn.views))
	err = s.scan(ctx, sn, func(ctx context.Context, p int, v View, table *columns.Table) error {
		// One more than the page holds tells whether there is another page.
		tops[p] = &first{order: page.order, limit: page.size + 1}
		look := s.look(page.filter, page.order, v)
		look.after, look.top = page.after, tops[p]
		return look.through(ctx, table, fresh)
	})
	if err != nil {
		return nil, err
	}
	all := &first{order: page.order, limit: page.size + 1}
	for _, top := range tops {
		all.places = append(all.places, top.places...)
	}
	resp := &queryv1.ListProfilesResponse{Freshness: fresh}
	shown := all.sorted()
	if len(shown) > page.size {
		shown = shown[:page.size]
		if page.size > 0 {
			resp.NextPageToken = listToken(req, &shown[page.size-1])
		}
	}
	for _, at := range shown {
		p, err := s.show(page, sn.views[at.id.Partition(len(sn.views))], at.id)
		if err != nil {
			return nil, err
		}
		resp.Profiles = append(resp.Profiles, p)
	}
	return resp, nil
}

// CountProfiles implements queryv1connect.QueryServiceHandler.
func (s *service) CountProfiles(ctx context.Context, req *queryv1.CountProfilesRequest) (*queryv1.CountProfilesResponse, error) {
	wanted, err := compileFilter(req.GetFilter(), s.zone())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, MaxListTime)
	defer cancel()
	if wanted.onRow == nil && wanted.rest.program == nil {
		return s.countAll(ctx)
	}
	release, err := s.beginScan(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	sn := s.snapshot()
	defer sn.close()
	fresh, err := s.freshness(sn, s.every()...)
	if err != nil {
		return nil, err
	}
	looks := make([]*looking, len(sn.views))
	err = s.scan(ctx, sn, func(ctx context.Context, p int, v View, table *columns.Table) error {
		looks[p] = s.look(wanted, nil, v)
		return looks[p].through(ctx, table, fresh)
	})
	if err != nil {
		return nil, err
	}
	var count uint64
	for _, look := range looks {
		count += look.count
	}
	return &queryv1.CountProfilesResponse{Count: uint32(count), Freshness: fresh}, nil
}

// countAll counts without a condition, which looks at nobody.
func (s *service) countAll(ctx context.Context) (*queryv1.CountProfilesResponse, error) {
	sn := s.snapshot()
	defer sn.close()
	fresh, err := s.freshness(sn, s.every()...)
	if err != nil {
		return nil, err
	}
	var count uint64
	for _, v := range sn.views {
		count += v.Checkpoint().GetCustomers()
	}
	return &queryv1.CountProfilesResponse{Count: uint32(count), Freshness: fresh}, nil
}

// beginScan takes one of the places for those who go through all customers, or
// waits for one. It is to be taken before a snapshot, which keeps old versions
// on disk.
func (s *service) beginScan(ctx context.Context) (release func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, MaxScanWait)
	defer cancel()
	select {
	case s.scans <- struct{}{}:
		return func() { <-s.scans }, nil
	case <-waiting.Done():
	}
	if ctx.Err() != nil {
		return nil, tooSlow(ctx)
	}
	return nil, refuse(errBusy, "%d lists, counts and searches are going through all customers, which is the limit, and none ended within %v; ask again shortly", MaxScans, MaxScanWait)
}

// zone is the deployment's, one for all partitions.
func (s *service) zone() *events.Zone {
	v := s.Partitions[0].View()
	defer v.Close()
	if zone := v.Env().Zone; zone != nil {
		return zone
	}
	// A partition that has no store yet knows no zone; the answer is
	// `unavailable` then, and what a day is does not matter.
	utc, err := events.NewZone([]*logv1.ZoneSpan{{Start: math.MinInt64}})
	if err != nil {
		panic("not reached: UTC is a constant: " + err.Error())
	}
	return utc
}

// scan goes through the rows of all partitions, some at once.
func (s *service) scan(ctx context.Context, sn *snapshot, look func(ctx context.Context, p int, v View, table *columns.Table) error) error {
	tables := make([]*columns.Table, len(sn.views))
	for p, v := range sn.views {
		var err error
		if tables[p], err = v.Rows(); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for p, v := range sn.views {
		group.Go(func() error { return look(ctx, p, v, tables[p]) })
	}
	return group.Wait()
}

// listPage is what a list asks for.
type listPage struct {
	filter *filter
	order  *order
	size   int
	after  *place     // nil: from the beginning
	fields [][]string // nil: all
	shown  shown      // of those fields
}

func (s *service) parseList(req *queryv1.ListProfilesRequest) (*listPage, error) {
	size, err := PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	page, zone := &listPage{size: size}, s.zone()
	if page.filter, err = compileFilter(req.GetFilter(), zone); err != nil {
		return nil, err
	}
	if page.order, err = compileOrder(req.GetOrderBy(), zone); err != nil {
		return nil, err
	}
	if len(req.GetFields()) > MaxFields {
		return nil, refuse(errInvalid, "fields: %d, limit %d", len(req.GetFields()), MaxFields)
	}
	var all reads
	for _, field := range req.GetFields() {
		p, err := compilePath("fields", field, zone)
		if err != nil {
			return nil, err
		}
		page.fields = append(page.fields, p.names)
		all.add(pathReads(p.names))
	}
	page.shown = showing(all)
	page.after, err = parseListToken(req)
	return page, err
}

// pathReads is what showing a field reads.
func pathReads(names []string) reads {
	r := reads{fields: names[:1]}
	whole := len(names) == 1
	switch names[0] {
	case traitsField:
		if r.allTraits = whole; !whole {
			r.traits = names[1:2]
		}
	case "memberships":
		r.companies = true
	case "referrals":
		r.referrer = whole || names[1] == "referredBy"
	}
	return r
}

// show renders a customer of the page.
func (s *service) show(page *listPage, v View, id events.CustomerID) (*queryv1.Profile, error) {
	if page.fields == nil {
		head, err := v.Outline(id)
		if err != nil {
			return nil, fmt.Errorf("read customer %s: %w", id, err)
		}
		p := render(id, head, v)
		return p, s.nameOthers(v, p, id, head, sections(nil).reads())
	}
	head, err := v.Part(id, page.shown.part)
	if err != nil {
		return nil, fmt.Errorf("read customer %s: %w", id, err)
	}
	p, err := s.renderPart(v, id, head, page.shown.reads)
	if err != nil {
		return nil, err
	}
	prune(p.ProtoReflect(), append([][]string{{"customerId"}}, page.fields...))
	return p, nil
}

// shown is what of profiles is shown or asked, the same of many customers.
type shown struct {
	reads reads
	part  projections.Part
}

func showing(r reads) shown { return shown{r, r.part()} }

// renderPart shows some of a customer's profile, and his id, from a part of his
// head.
func (s *service) renderPart(v View, id events.CustomerID, head *statev1.Head, some reads) (*queryv1.Profile, error) {
	fields := some.fields
	p := &queryv1.Profile{CustomerId: id.String(), Kind: kindName(head.GetKind())}
	if slices.Contains(fields, "lifecycle") {
		p.Lifecycle = profile.RenderLifecycle(head.GetJournal())
	}
	if head.GetParked() > 0 && slices.Contains(fields, "flags") {
		p.Flags = []string{flagParked}
	}
	profile.RenderFields(head.GetFacts(), v.Settled(), v.Env(), fields, p)
	return p, s.nameOthers(v, p, id, head, some)
}

// nameOthers says who the other customers of a profile are, as far as that is
// read.
func (s *service) nameOthers(v View, p *queryv1.Profile, id events.CustomerID, head *statev1.Head, r reads) error {
	if err := s.nameIdentity(v, p, id, head, r); err != nil {
		return err
	}
	if r.companies {
		if err := s.nameCompanies(p); err != nil {
			return err
		}
	}
	if r.referrer {
		return s.nameReferrer(p, id, head.GetFacts())
	}
	return nil
}

// prune clears all of a message that no path leads to. Paths lead through
// messages, map keys and what was told as JSON; a list is kept whole.
func prune(m protoreflect.Message, paths [][]string) {
	m.Range(func(fd protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		below, whole := under(fd.JSONName(), paths)
		switch {
		case whole:
		case len(below) == 0:
			m.Clear(fd)
		case fd.IsMap():
			pruneMap(value.Map(), fd, below)
		case isJSON(fd):
			if !pruneJSON(value.Message(), below) {
				m.Clear(fd)
			}
		case fd.Message() != nil && !fd.IsList():
			prune(m.Mutable(fd).Message(), below)
		}
		return true
	})
}

func pruneMap(m protoreflect.Map, fd protoreflect.FieldDescriptor, paths [][]string) {
	m.Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
		below, whole := under(key.String(), paths)
		switch {
		case whole:
		case len(below) == 0:
			m.Clear(key)
		case fd.MapValue().Message() != nil:
			prune(value.Message(), below)
		}
		return true
	})
}

func isJSON(fd protoreflect.FieldDescriptor) bool {
	return !fd.IsList() && fd.Message() != nil && fd.Message().FullName() == valueName
}

// pruneJSON is prune of a value told as JSON. It reports whether paths lead into
// it at all, which they do into nothing but an object.
func pruneJSON(m protoreflect.Message, paths [][]string) bool {
	value, _ := m.Interface().(*structpb.Value)
	object := value.GetStructValue()
	if object == nil {
		return false
	}
	for key, entry := range object.GetFields() {
		below, whole := under(key, paths)
		if !whole && (len(below) == 0 || !pruneJSON(entry.ProtoReflect(), below)) {
			delete(object.Fields, key)
		}
	}
	return true
}

// under are the paths below a name, and whether one of them ends with it.
func under(name string, paths [][]string) (below [][]string, whole bool) {
	for _, path := range paths {
		if path[0] != name {
			continue
		}
		if len(path) == 1 {
			return nil, true
		}
		below = append(below, path[1:])
	}
	return below, false
}

// looking goes through the rows of one partition for those that a filter
// leaves: it counts them, or keeps the first of them.
type looking struct {
	service *service
	view    View
	filter  *filter
	order   *order // nil: only count
	after   *place // nil: from the beginning
	top     *first
	count   uint64

	rest, all asked
}

// asked is what a profile is asked, and what of it that takes.
type asked struct {
	condition cel.Program // nil: none
	shown     shown
}

func (s *service) look(f *filter, o *order, v View) *looking {
	l := &looking{service: s, view: v, filter: f, order: o}
	l.rest, l.all = l.asking(f.rest), l.asking(f.all)
	return l
}

// asking is a question, and the place of who is left.
func (l *looking) asking(q question) asked {
	reads := q.reads
	if l.order != nil {
		reads.add(l.order.whole.reads)
	}
	return asked{q.program, showing(reads)}
}

func (l *looking) through(ctx context.Context, table *columns.Table, fresh *queryv1.Freshness) error {
	subject := &subject{l: theLanguage(), now: types.Timestamp{Time: fresh.GetLogTime().AsTime()}}
	rows, heads, perLook := 0, 0, rowsPerLook
	if l.filter.loops {
		perLook = slowRowsPerLook
	}
	atOnce := max(minAtOnce, table.Len()/atOnceShare)
	var later []waiting
	for row := range table.All() {
		if rows++; rows%perLook == 0 && ctx.Err() != nil {
			return tooSlow(ctx)
		}
		ask, err := l.byRow(subject, row)
		if err != nil {
			return err
		}
		if ask == nil {
			continue
		}
		if heads++; heads > atOnce {
			later = append(later, waiting{row.ID, ask})
			continue
		}
		if heads%headsPerLook == 0 && ctx.Err() != nil {
			return tooSlow(ctx)
		}
		head, err := l.view.Part(row.ID, ask.shown.part)
		if err != nil {
			return fmt.Errorf("read customer %s: %w", row.ID, err)
		}
		if err := l.byProfile(subject, row.ID, head, ask); err != nil {
			return err
		}
	}
	if err := l.throughStore(ctx, subject, later); err != nil {
		return err
	}
	if ctx.Err() != nil { // among the last rows
		return tooSlow(ctx)
	}
	return nil
}

// waiting is somebody whose profile is to be asked.
type waiting struct {
	id  events.CustomerID
	ask *asked
}

// throughStore asks many profiles, in the order in which the store has them.
func (l *looking) throughStore(ctx context.Context, s *subject, all []waiting) error {
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b waiting) int { return a.id.Compare(b.id) })
	heads := 0
	wanted := func(c events.CustomerID) (projections.Part, bool) {
		for len(all) > 0 && all[0].id.Compare(c) < 0 {
			all = all[1:]
		}
		if len(all) == 0 || all[0].id != c {
			return projections.Part{}, false
		}
		return all[0].ask.shown.part, true
	}
	return l.view.Parts(wanted, func(c events.CustomerID, head *statev1.Head) error {
		if heads++; heads%headsPerLook == 0 && ctx.Err() != nil {
			return tooSlow(ctx)
		}
		return l.byProfile(s, c, head, all[0].ask)
	})
}

// tooSlow says why a list was stopped.
func tooSlow(ctx context.Context) error {
	return fmt.Errorf("list stopped: %w", context.Cause(ctx))
}

// byRow decides by a row. If that cannot tell all, it returns what is left to
// be asked of the profile.
func (l *looking) byRow(s *subject, row *columns.Row) (*asked, error) {
	holds, err := s.of(row).holds(l.filter.onRow)
	switch {
	case err != nil:
		return nil, err
	case s.unsure:
		return &l.all, nil
	case !holds:
		return nil, nil
	}
	at := place{kind: sortAbsent, id: row.ID}
	if l.order != nil && l.order.whole.program != nil {
		if l.order.onRow == nil {
			return &l.rest, nil
		}
		value, err := s.value(l.order.onRow)
		if err != nil {
			return nil, err
		}
		if s.unsure {
			return &l.rest, nil
		}
		at = placeOf(value, row.ID)
	}
	if l.order != nil && (l.passed(&at) || l.top.excludes(&at)) {
		return nil, nil
	}
	if l.filter.rest.program != nil {
		return &l.rest, nil
	}
	l.take(at)
	return nil, nil
}

// passed reports whether a place was on a page before.
func (l *looking) passed(at *place) bool { return l.after != nil && l.order.compare(at, l.after) <= 0 }

// byProfile decides by the profile, of which the part of a head has what is
// asked.
func (l *looking) byProfile(s *subject, id events.CustomerID, head *statev1.Head, ask *asked) error {
	p, err := l.service.renderPart(l.view, id, head, ask.shown.reads)
	if err != nil {
		return err
	}
	holds, err := s.ofProfile(p).holds(ask.condition)
	if err != nil || !holds {
		return err
	}
	at := place{kind: sortAbsent, id: id}
	if l.order != nil && l.order.whole.program != nil {
		value, err := s.value(l.order.whole.program)
		if err != nil {
			return err
		}
		at = placeOf(value, id)
	}
	if l.order == nil || !l.passed(&at) {
		l.take(at)
	}
	return nil
}

// take counts somebody whom the filter leaves, or keeps him if he is among the
// first.
func (l *looking) take(at place) {
	l.count++
	if l.order != nil {
		l.top.add(at)
	}
}
