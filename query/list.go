package query

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"cel.dev/cel-go/common/types"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/profile"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
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

	maxFilterDepth = 50    // of parentheses and calls
	maxFilterNodes = 2_000 // of the expression, macros written out
	maxFilterLoops = 2     // in each other

	rowsPerLook  = 1024 // rows looked at before it is asked whether anybody waits
	headsPerLook = 16   // the same of heads
)

// ListProfiles implements queryv1connect.QueryServiceHandler.
func (s *service) ListProfiles(ctx context.Context, req *queryv1.ListProfilesRequest) (*queryv1.ListProfilesResponse, error) {
	page, err := s.parseList(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, MaxListTime)
	defer cancel()
	sn := s.snapshot()
	defer sn.close()
	fresh, err := s.freshness(ctx, sn, s.every()...)
	if err != nil {
		return nil, err
	}
	tops := make([]*first, len(sn.views))
	err = s.scan(ctx, sn, func(ctx context.Context, p int, v View, table *columns.Table) error {
		// One more than the page holds tells whether there is another page.
		tops[p] = &first{order: page.order, limit: page.size + 1}
		look := &looking{filter: page.filter, order: page.order, after: page.after, top: tops[p], view: v}
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
		p, err := page.show(sn.views[at.id.Partition(len(sn.views))], at.id)
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
	sn := s.snapshot()
	defer sn.close()
	fresh, err := s.freshness(ctx, sn, s.every()...)
	if err != nil {
		return nil, err
	}
	var count uint64
	if wanted.onRow == nil && wanted.onWhole == nil {
		for _, v := range sn.views {
			count += v.Checkpoint().GetCustomers()
		}
		return &queryv1.CountProfilesResponse{Count: uint32(count), Freshness: fresh}, nil
	}
	looks := make([]looking, len(sn.views))
	err = s.scan(ctx, sn, func(ctx context.Context, p int, v View, table *columns.Table) error {
		looks[p] = looking{filter: wanted, view: v}
		return looks[p].through(ctx, table, fresh)
	})
	if err != nil {
		return nil, err
	}
	for _, look := range looks {
		count += look.count
	}
	return &queryv1.CountProfilesResponse{Count: uint32(count), Freshness: fresh}, nil
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
	return &events.Zone{}
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
	tops   []string   // the fields of the profile that fields name
}

func (s *service) parseList(req *queryv1.ListProfilesRequest) (*listPage, error) {
	page := &listPage{size: int(req.GetPageSize())}
	switch {
	case page.size == 0:
		page.size = DefaultPageSize
	case page.size > MaxPageSize:
		return nil, refuse(errInvalid, "pageSize: %d, limit %d", req.GetPageSize(), MaxPageSize)
	}
	zone := s.zone()
	var err error
	if page.filter, err = compileFilter(req.GetFilter(), zone); err != nil {
		return nil, err
	}
	if page.order, err = compileOrder(req.GetOrderBy(), zone); err != nil {
		return nil, err
	}
	if len(req.GetFields()) > MaxFields {
		return nil, refuse(errInvalid, "fields: %d, limit %d", len(req.GetFields()), MaxFields)
	}
	for _, field := range req.GetFields() {
		p, err := compilePath("fields", field, zone)
		if err != nil {
			return nil, err
		}
		page.fields = append(page.fields, p.names)
		page.tops = append(page.tops, p.names[0])
	}
	if req.GetPageToken() != "" {
		if page.after, err = parseListToken(req); err != nil {
			return nil, refuse(errInvalid, "pageToken: %v; begin again without one", err)
		}
	}
	return page, nil
}

// show renders a customer of the page.
func (page *listPage) show(v View, id events.CustomerID) (*queryv1.Profile, error) {
	if page.fields == nil {
		head, err := v.Outline(id)
		if err != nil {
			return nil, fmt.Errorf("read customer %s: %w", id, err)
		}
		return render(id, head, v), nil
	}
	p, err := renderFields(v, id, page.tops)
	if err != nil {
		return nil, err
	}
	prune(p.ProtoReflect(), append([][]string{{"customerId"}}, page.fields...))
	return p, nil
}

// renderFields shows some fields of a customer's profile, and his id.
func renderFields(v View, id events.CustomerID, fields []string) (*queryv1.Profile, error) {
	head, err := v.Outline(id)
	if err != nil {
		return nil, fmt.Errorf("read customer %s: %w", id, err)
	}
	p := &queryv1.Profile{CustomerId: id.String(), Kind: kindName(head.GetKind())}
	if slices.Contains(fields, "lifecycle") {
		p.Lifecycle = profile.RenderLifecycle(head.GetJournal())
	}
	if head.GetParked() > 0 && slices.Contains(fields, "flags") {
		p.Flags = []string{flagParked}
	}
	profile.RenderFields(head.GetFacts(), v.Settled(), v.Env(), fields, p)
	return p, nil
}

// prune clears all of a message that no path leads to. Paths lead through
// messages and map keys; a list is kept whole.
func prune(m protoreflect.Message, paths [][]string) {
	m.Range(func(fd protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		below, whole := under(fd.JSONName(), paths)
		switch {
		case whole:
		case len(below) == 0:
			m.Clear(fd)
		case fd.IsMap():
			pruneMap(value.Map(), fd, below)
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
	filter *filter
	order  *order // nil: only count
	after  *place // nil: from the beginning
	top    *first
	view   View
	count  uint64
}

func (l *looking) through(ctx context.Context, table *columns.Table, fresh *queryv1.Freshness) error {
	subject := &subject{l: theLanguage(), now: types.Timestamp{Time: fresh.GetLogTime().AsTime()}}
	rows, heads := 0, 0
	for row := range table.All() {
		if rows++; rows%rowsPerLook == 0 && ctx.Err() != nil {
			return tooSlow(ctx)
		}
		wanted, whole, err := l.onRow(subject, row)
		if err != nil {
			return err
		}
		if !wanted {
			continue
		}
		if whole {
			if heads++; heads%headsPerLook == 0 && ctx.Err() != nil {
				return tooSlow(ctx)
			}
			if err := l.onWhole(subject, row.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// tooSlow says why a list was stopped.
func tooSlow(ctx context.Context) error {
	return fmt.Errorf("list stopped: %w", context.Cause(ctx))
}

// onRow decides by a row: he is not wanted, or he is and is taken in, or whole
// says that his profile must be asked.
func (l *looking) onRow(s *subject, row *columns.Row) (wanted, whole bool, err error) {
	if wanted, err = s.of(row).holds(l.filter.onRow); err != nil || !wanted {
		return false, false, err
	}
	if l.order == nil {
		if l.filter.onWhole == nil {
			l.count++
			return true, false, nil
		}
		return true, true, nil
	}
	if l.order.program != nil && !l.order.onRows {
		return true, true, nil
	}
	at := place{kind: sortAbsent, id: row.ID}
	if l.order.program != nil {
		value, err := s.value(l.order.program)
		if err != nil {
			return false, false, err
		}
		at = placeOf(value, row.ID)
	}
	if l.passed(&at) || l.top.excludes(&at) {
		return false, false, nil
	}
	if l.filter.onWhole == nil {
		l.top.add(at)
		return true, false, nil
	}
	return true, true, nil
}

// passed reports whether a place was on a page before.
func (l *looking) passed(at *place) bool { return l.after != nil && l.order.compare(at, l.after) <= 0 }

// onWhole decides by the profile.
func (l *looking) onWhole(s *subject, id events.CustomerID) error {
	fields := l.filter.reads
	if l.order != nil {
		fields = append(slices.Clip(fields), l.order.reads...)
	}
	p, err := renderFields(l.view, id, fields)
	if err != nil {
		return err
	}
	holds, err := s.ofProfile(p).holds(l.filter.onWhole)
	if err != nil || !holds {
		return err
	}
	if l.order == nil {
		l.count++
		return nil
	}
	at := place{kind: sortAbsent, id: id}
	if l.order.program != nil {
		value, err := s.value(l.order.program)
		if err != nil {
			return err
		}
		at = placeOf(value, id)
	}
	if !l.passed(&at) {
		l.top.add(at)
	}
	return nil
}
