package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/profile"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// GetProfile implements queryv1connect.QueryServiceHandler.
func (s *service) GetProfile(ctx context.Context, req *queryv1.GetProfileRequest) (*queryv1.GetProfileResponse, error) {
	wanted, err := parseSections(req.GetSections())
	if err != nil {
		return nil, err
	}
	wait, err := receiptWait(req.GetTimeoutMs())
	if err != nil {
		return nil, err
	}
	var receipt map[int]uint64
	if req.GetReceipt() != "" {
		if receipt, err = s.ParseReceipt(req.GetReceipt()); err != nil {
			return nil, refuse(errInvalid, "receipt: %v", err)
		}
	}
	id, known, err := s.resolve(req.GetCustomer())
	if err != nil {
		return nil, err
	}
	if len(receipt) > 0 {
		if id, err = s.awaitReceipt(ctx, id, receipt, wait); err != nil {
			return nil, err
		}
	}
	p := id.Partition(len(s.Partitions))
	sn := s.snapshot()
	defer sn.close()
	head, fresh, err := s.customer(ctx, sn, req.GetCustomer(), id, known)
	if err != nil {
		return nil, err
	}
	answer := render(id, head, sn.views[p])
	wanted.keep(answer)
	if err := s.nameOthers(sn.views[p], answer, id, head, wanted.reads()); err != nil {
		return nil, err
	}
	return &queryv1.GetProfileResponse{Profile: answer, Freshness: fresh}, nil
}

func isNotFound(err error) bool { return errors.Is(err, projections.ErrNotFound) }

func receiptWait(timeoutMillis uint32) (time.Duration, error) {
	if timeoutMillis == 0 {
		return MaxReceiptWait, nil
	}
	wait := time.Duration(timeoutMillis) * time.Millisecond
	if wait > MaxReceiptWait {
		return 0, refuse(errInvalid, "timeoutMs: %d, limit %d", timeoutMillis, MaxReceiptWait.Milliseconds())
	}
	return wait, nil
}

// awaitReceipt waits until the partition of a customer holds of him what a
// receipt acknowledged: the events there, and what was decided of who he is,
// with all that moves to him by it. What the receipt acknowledged elsewhere is
// not in this answer anyway. It returns who he is by then.
func (s *service) awaitReceipt(ctx context.Context, id events.CustomerID, receipt map[int]uint64, wait time.Duration) (events.CustomerID, error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		// Of who he is the directory may know more than the receipt does: what it
		// acknowledged of him under another id is his once that is heard.
		at := max(receipt[ReceiptIdentity], s.Directory.Progress().Applied)
		err := s.await(waiting, id, receipt, at)
		if ctx.Err() != nil {
			return id, ctx.Err() // the caller's own deadline, not the receipt's
		}
		if err != nil {
			return id, notReached(err, wait)
		}
		root, err := s.root(id)
		if err != nil || root == id {
			return id, err
		}
		id = root // he became another one meanwhile
	}
}

// await waits for what a receipt acknowledged of a customer who was found by what
// was decided up to at.
func (s *service) await(ctx context.Context, id events.CustomerID, receipt map[int]uint64, at uint64) error {
	p := id.Partition(len(s.Partitions))
	if seq := receipt[p]; seq > 0 {
		err := s.Partitions[p].WaitApplied(ctx, seq)
		if errors.Is(err, projections.ErrCatchingUp) {
			err = refuse(err, "partition %d has folded record %d of %d", p, s.Partitions[p].Known().Applied, seq)
		}
		if err != nil {
			return err
		}
	}
	err := s.Partitions[p].WaitRules(ctx, at)
	if errors.Is(err, projections.ErrCatchingUp) {
		err = refuse(err, "partition %d has not folded all merges and splits up to %d", p, at)
	}
	if err != nil {
		return err
	}
	err = s.Partitions[p].WaitMoved(ctx, id)
	if errors.Is(err, projections.ErrCatchingUp) {
		err = refuse(err, "events are still being moved to customer %s", id)
	}
	return err
}

func notReached(err error, wait time.Duration) error {
	if !errors.Is(err, projections.ErrCatchingUp) {
		return err
	}
	return refuse(projections.ErrCatchingUp, "receipt not reached within %v: %v; ask again with the same receipt", wait, err)
}

// render shows a customer: facts at the settled time, and what rests on the
// journal and on the log.
func render(id events.CustomerID, head *statev1.Head, v View) *queryv1.Profile {
	p := &queryv1.Profile{
		CustomerId: id.String(),
		Kind:       kindName(head.GetKind()),
		Lifecycle:  profile.RenderLifecycle(head.GetJournal()),
	}
	if head.GetParked() > 0 {
		p.Flags = []string{flagParked}
	}
	profile.Render(head.GetFacts(), v.Settled(), v.Env(), p)
	return p
}

// nameCompanies says which customers the companies of a profile's memberships
// are, as far as the directory knows them: facts hold what was told, and a
// company is found when it is read.
func (s *service) nameCompanies(p *queryv1.Profile) error {
	for _, m := range p.GetMemberships() {
		company, known, err := s.Directory.Lookup(m.GetCompany().GetType(), m.GetCompany().GetValue())
		switch {
		case errors.Is(err, directory.ErrBlocked):
			// It names nobody.
		case err != nil:
			return fmt.Errorf("look up company %q of customer %s: %w", m.GetCompany().GetValue(), p.GetCustomerId(), err)
		case known:
			m.CompanyId = company.String()
		}
	}
	return nil
}

// nameReferrer says which customer referred another, as far as the directory
// knows: facts hold identifier hashes. It is the first of those told who is
// known and another: nobody referred himself.
func (s *service) nameReferrer(p *queryv1.Profile, id events.CustomerID, f *statev1.Facts) error {
	for _, told := range profile.Referrers(f) {
		var hash directory.Hash
		if len(told) != len(hash) {
			continue // no directory of ours made it
		}
		copy(hash[:], told)
		referrer, known, err := s.Directory.LookupHash(hash)
		if err != nil {
			return fmt.Errorf("look up the referrer of customer %s: %w", id, err)
		}
		if !known || referrer == id { // himself, it may be as he was called before
			continue
		}
		if p.Referrals == nil {
			p.Referrals = &queryv1.Referrals{}
		}
		text := referrer.String()
		p.Referrals.ReferredBy = &text
		return nil
	}
	return nil
}

const flagParked = "parked"

func kindName(k logv1.CustomerKind) string {
	if k == logv1.CustomerKind_CUSTOMER_KIND_COMPANY {
		return "company"
	}
	return "person"
}

// unsectioned are the fields that every profile shows: who it is. All others
// are sections, named as in JSON, so that a new one needs nothing here.
var unsectioned = []protoreflect.Name{
	"customer_id", "kind", "identified", "name", "first_seen_at", "last_seen_at", "digest", "aliases", "flags",
}

// sections are the fields of a profile to show; nil means all.
type sections map[protoreflect.Name]bool

func parseSections(names []string) (sections, error) {
	if len(names) == 0 {
		return nil, nil
	}
	wanted := sections{}
	for _, name := range names {
		field := (*queryv1.Profile)(nil).ProtoReflect().Descriptor().Fields().ByJSONName(name)
		if field == nil || slices.Contains(unsectioned, field.Name()) {
			return nil, refuse(errInvalid, "sections: no section %q; there are %s", name, strings.Join(sectionNames(), ", "))
		}
		wanted[field.Name()] = true
	}
	return wanted, nil
}

func sectionNames() []string {
	fields := (*queryv1.Profile)(nil).ProtoReflect().Descriptor().Fields()
	var names []string
	for i := range fields.Len() {
		if f := fields.Get(i); !slices.Contains(unsectioned, f.Name()) {
			names = append(names, f.JSONName())
		}
	}
	return names
}

// reads is what showing them reads of other customers.
func (wanted sections) reads() reads {
	r := reads{fields: []string{"aliases", "flags"}, companies: true, referrer: wanted.has("referrals")}
	if wanted.has("members") {
		r.fields = append(r.fields, "members")
	}
	return r
}

func (wanted sections) has(name protoreflect.Name) bool { return wanted == nil || wanted[name] }

func (wanted sections) keep(p *queryv1.Profile) {
	if wanted == nil {
		return
	}
	m := p.ProtoReflect()
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !wanted[f.Name()] && !slices.Contains(unsectioned, f.Name()) {
			m.Clear(f)
		}
		return true
	})
}
