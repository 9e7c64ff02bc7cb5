package suspects

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/query"
)

// Directory knows what was decided about pairs.
type Directory interface {
	// Apart reports whether two customers are kept apart.
	Apart(a, b events.CustomerID) (bool, error)
	// Root is the customer that one became.
	Root(c events.CustomerID) (events.CustomerID, error)
}

// Options of [New]. All fields without a stated zero value are required.
type Options struct {
	// Partitions, all of them, by number.
	Partitions []query.Partition
	Directory  Directory
	// Find finds the customer that a reference names: query.Customers.Find.
	Find func(reference string) (events.CustomerID, error)
	// Names of traits. Nil: the built-in ones.
	Names  *Names
	Logger *slog.Logger
}

// The times of a ranking.
const (
	// quick is how long computing may take for every change to be worth it.
	quick = time.Second
	// pause is how long a ranking that took longer is shown; one that took much
	// longer, patience times as long as it took. So no more than that share of a
	// processor goes into them.
	pause    = time.Minute
	patience = 10
	// MaxWait bounds how long an answer waits for a ranking. Of many customers the
	// first takes longer.
	MaxWait = 20 * time.Second
)

// Service ranks the customers of all partitions. Its methods are safe for
// concurrent use; [Service.Run] must be running.
type Service struct {
	Options

	// wanted holds one token if a ranking is to be computed.
	wanted chan struct{}

	mu sync.Mutex
	// All guarded by mu. latest is nil before the first was computed; former is
	// the one before, for those who page through it.
	latest, former *computed
	failed         error         // of the computing since
	done           chan struct{} // closed when the computing under way or next ends
}

// computed is a ranking and what it rests on. It is immutable.
type computed struct {
	*Ranking
	positions []uint64
	at        time.Time
	took      time.Duration
}

// New returns a service that has computed nothing yet.
func New(o Options) *Service {
	if o.Names == nil {
		var err error
		if o.Names, err = NewNames(nil); err != nil {
			panic("not reached: the table is a constant: " + err.Error())
		}
	}
	return &Service{Options: o, wanted: make(chan struct{}, 1), done: make(chan struct{})}
}

// Run computes rankings as they are asked for, one at a time, until the context
// ends.
func (s *Service) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wanted:
		}
		if s.rests() {
			continue // it was asked for while the latest was being computed
		}
		c, err := s.compute(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.Logger.WarnContext(ctx, "suspects not computed", "error", err)
		}
		s.publish(c, err)
	}
}

// rests reports whether the latest ranking is one to be shown for a while.
func (s *Service) rests() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest != nil && s.latest.rests()
}

// rests reports whether computing took long and that was done lately.
func (c *computed) rests() bool {
	return c.took > quick && time.Since(c.at) < max(pause, patience*c.took)
}

// compute ranks the customers as they are now.
func (s *Service) compute(ctx context.Context) (*computed, error) {
	r, err := read(s.Names, s.Partitions)
	if err != nil {
		return nil, err
	}
	defer r.close()
	began := time.Now()
	ranking, err := Find(ctx, r.source)
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	s.Logger.DebugContext(ctx, "suspects computed", "customers", ranking.Customers, "pairs", len(ranking.Pairs), "compared", ranking.Compared, "took", took)
	return &computed{ranking, r.positions(), began, took}, nil
}

func (s *Service) publish(c *computed, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	if c != nil {
		s.former, s.latest = s.latest, c
	}
	close(s.done)
	s.done = make(chan struct{})
}

// ranking is one that is fresh enough: of what is folded now, or the latest if
// computing takes long and that was done lately. Who waits for one in vain gets
// the latest too, however old.
func (s *Service) ranking(ctx context.Context) (*computed, error) {
	now := s.positions()
	waiting, cancel := context.WithTimeout(ctx, MaxWait)
	defer cancel()
	for {
		s.mu.Lock()
		latest, done := s.latest, s.done
		s.mu.Unlock()
		switch {
		case latest == nil:
		case covers(latest.positions, now):
			return latest, nil
		case latest.rests():
			return latest, nil
		}
		s.want()
		select {
		case <-waiting.Done():
			switch {
			case ctx.Err() != nil:
				return nil, ctx.Err()
			case latest != nil:
				return latest, nil // of many customers; the next one comes behind it
			}
			return nil, fmt.Errorf("probable duplicates are being computed; ask again shortly: %w", projections.ErrCatchingUp)
		case <-done:
		}
		s.mu.Lock()
		err := s.failed
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
}

func (s *Service) want() {
	select {
	case s.wanted <- struct{}{}:
	default: // somebody wants it already
	}
}

func (s *Service) positions() []uint64 {
	all := make([]uint64, len(s.Partitions))
	for i, p := range s.Partitions {
		v := p.View()
		all[i] = v.Applied()
		v.Close()
	}
	return all
}

func covers(have, want []uint64) bool {
	for i := range want {
		if have[i] < want[i] {
			return false
		}
	}
	return true
}

// paged is the ranking that a page was of, if it is kept, else the one to go on
// with.
func (s *Service) paged(ctx context.Context, t *token) (*computed, error) {
	if t != nil {
		s.mu.Lock()
		latest, former := s.latest, s.former
		s.mu.Unlock()
		for _, c := range []*computed{latest, former} {
			if c != nil && c.at.UnixNano() == t.ranking {
				return c, nil
			}
		}
	}
	return s.ranking(ctx)
}

// List is the method of IdentityService.
func (s *Service) List(ctx context.Context, req *queryv1.ListSuspectsRequest) (*queryv1.ListSuspectsResponse, error) {
	w, err := s.parse(req)
	if err != nil {
		return nil, err
	}
	c, err := s.paged(ctx, w.after)
	if err != nil {
		return nil, err
	}
	resp := &queryv1.ListSuspectsResponse{ComputedAt: timestamppb.New(c.at), Customers: uint64(c.Customers), Cut: c.Cut}
	for _, crowd := range c.Crowded {
		resp.Crowded = append(resp.Crowded, &queryv1.SuspectCrowd{
			Key: crowd.Key, Kind: kindName(crowd.Company), Values: uint64(crowd.Blocks), Customers: uint64(crowd.Customers), Largest: uint64(crowd.Largest),
		})
	}
	// All from the first, since they are counted too.
	end := sort.Search(len(c.Pairs), func(i int) bool { return c.Pairs[i].Score < w.score })
	last, more := (*Pair)(nil), false
	for i := range c.Pairs[:end] {
		p := &c.Pairs[i]
		open, err := s.isOpen(w, p)
		if err != nil {
			return nil, err
		}
		if !open {
			continue
		}
		resp.Total++
		if w.after != nil && p.compare(w.after.score, w.after.a, w.after.b) <= 0 {
			continue
		}
		if len(resp.Suspects) == w.size {
			more = true
			continue
		}
		resp.Suspects = append(resp.Suspects, c.show(*p))
		last = p
	}
	if more {
		resp.NextPageToken = pageToken(req, &token{c.at.UnixNano(), last.Score, last.A, last.B})
	}
	return resp, nil
}

// isOpen reports whether a pair is asked for and nothing was decided about it
// since it was found.
func (s *Service) isOpen(w *wish, p *Pair) (bool, error) {
	if !w.customer.IsZero() && p.A != w.customer && p.B != w.customer || w.kind != "" && w.kind != kindName(p.Company) {
		return false, nil
	}
	for _, id := range [...]events.CustomerID{p.A, p.B} {
		root, err := s.Directory.Root(id)
		if err != nil || root != id {
			return false, err
		}
	}
	apart, err := s.Directory.Apart(p.A, p.B)
	return !apart, err
}

func (c *computed) show(p Pair) *queryv1.Suspect {
	shown := &queryv1.Suspect{A: p.A.String(), B: p.B.String(), Kind: kindName(p.Company), Score: p.Score}
	shown.AName, shown.BName = c.Names(p)
	for _, r := range c.Reasons(p) {
		shown.Reasons = append(shown.Reasons, &queryv1.SuspectReason{Field: r.Field, A: r.A, B: r.B, How: r.How, Weight: r.Weight})
	}
	return shown
}

func kindName(company bool) string {
	if company {
		return "company"
	}
	return "person"
}

// wish is what a request asks for.
type wish struct {
	customer events.CustomerID // zero: all
	kind     string            // "": both
	score    float64
	size     int
	after    *token // nil: from the first
}

func (s *Service) parse(req *queryv1.ListSuspectsRequest) (*wish, error) {
	size, err := query.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	w := &wish{kind: req.GetKind(), score: req.GetMinScore(), size: size}
	if !slices.Contains([]string{"", "person", "company"}, w.kind) {
		return nil, query.Invalid("kind: %q; person or company wanted, or none for both", w.kind)
	}
	switch {
	case w.score == 0:
		w.score = DefaultScore
	case !(w.score >= LeastScore && w.score <= 1): // also what is no number
		return nil, query.Invalid("minScore: %v; from %v to 1 wanted", w.score, LeastScore)
	}
	if w.after, err = parseToken(req); err != nil {
		return nil, err
	}
	if req.GetCustomer() != "" {
		if w.customer, err = s.Find(req.GetCustomer()); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// token is the place of the pair shown last in a ranking.
type token struct {
	ranking int64 // when it was begun, nanoseconds
	score   float64
	a, b    events.CustomerID
}

// pageToken goes on behind a pair. Its key:
//
//	bytes 0-7    the ranking: when it was begun, big endian
//	bytes 8-15   score of the pair, IEEE 754
//	bytes 16-47  its customers
func pageToken(req *queryv1.ListSuspectsRequest, t *token) string {
	key := binary.BigEndian.AppendUint64(nil, uint64(t.ranking))
	key = binary.BigEndian.AppendUint64(key, math.Float64bits(t.score))
	key = append(append(key, t.a[:]...), t.b[:]...)
	return query.PageToken(key, fixed(req)...)
}

// parseToken reads the token of a request; nil if it has none.
func parseToken(req *queryv1.ListSuspectsRequest) (*token, error) {
	key, err := query.ParsePageToken(req.GetPageToken(), fixed(req)...)
	if key == nil || err != nil {
		return nil, err
	}
	if len(key) != 8+8+2*len(events.CustomerID{}) {
		return nil, query.Invalid("pageToken: %d bytes; begin again without one", len(key))
	}
	t := &token{ranking: int64(binary.BigEndian.Uint64(key)), score: math.Float64frombits(binary.BigEndian.Uint64(key[8:]))}
	copy(t.a[:], key[16:])
	copy(t.b[:], key[16+len(t.a):])
	return t, nil
}

// fixed is what must stay the same from page to page.
func fixed(req *queryv1.ListSuspectsRequest) []string {
	return []string{"suspects", req.GetCustomer(), req.GetKind(), fmt.Sprint(req.GetMinScore())}
}
