package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// The identity key can be changed, for one that leaked or went with somebody.
// Hashes cannot be computed from hashes, so the identifiers are read where they
// stand in clear: in the bodies of the events. The log cannot be written anew
// either; so an identifier that it knows keeps its hash for ever, in headers,
// rules and the directory, and the hash under the new key is an alias of that.
// Only what nobody has named before is known by the hash under the new key.

// Groups of rows: hashes under a later key with the hash in the log; and, under
// the empty key, the check value of the key that holds if it is not the first.
const (
	laterGroup    = "x"
	keyCheckGroup = "y"
)

const pairedBytes = 2 * len(Hash{})

// rekey folds a part of a change of the key.
func (t *tables) rekey(r *logv1.Rekeyed) error {
	if n := len(r.Hashes); n%pairedBytes != 0 {
		return fmt.Errorf("rekeyed: %d bytes of hashes, a multiple of %d wanted", n, pairedBytes)
	}
	for pairs := r.Hashes; len(pairs) > 0; pairs = pairs[pairedBytes:] {
		t.put(laterGroup, string(pairs[:len(Hash{})]), pairs[len(Hash{}):pairedBytes])
	}
	if r.Done {
		t.put(keyCheckGroup, "", r.KeyCheck)
	}
	return nil
}

// keyState says which key holds where the fold is. Guarded by Directory.mu.
type keyState struct {
	ours    []byte // check value of our key
	genesis []byte // of the first
	holds   []byte // of the one that holds
}

// other reports whether another key than ours holds.
func (k *keyState) other() bool { return !bytes.Equal(k.holds, k.ours) }

// checkKey refuses a key that is not the last one of the log: under it every
// customer would be a new one. Whether the first key still holds is found by the
// fold.
func (d *Directory) checkKey(ctx context.Context, genesis *logv1.Genesis) error {
	d.key.ours, d.key.genesis = KeyCheck(d.o.Key), genesis.GetIdentityKeyCheck()
	if bytes.Equal(d.key.ours, d.key.genesis) {
		return nil
	}
	return events.CheckIdentityKey(ctx, d.o.Log, d.key.ours, 1)
}

// loadKey reads which key holds where the store is, as holdsLocked takes it, and
// refuses the first one if it does no more.
func (d *Directory) loadKey(ctx context.Context, st store.Store) ([]byte, error) {
	view := st.View()
	defer view.Close()
	holds, err := view.Get([]byte(keyCheckGroup))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the check value of the identity key: %w", err)
	case holds == nil:
		return nil, nil
	case bytes.Equal(holds, d.key.ours) || !bytes.Equal(d.key.genesis, d.key.ours):
		return holds, nil
	}
	// The store folded a change; unless it was changed back since:
	err = events.CheckIdentityKey(ctx, d.o.Log, d.key.ours, 1)
	if errors.Is(err, events.ErrIdentityKey) {
		err = events.ErrFormerKey
	}
	return holds, err
}

// holdsLocked notes which key holds where the fold is; nil: the first, and it
// was never changed.
func (d *Directory) holdsLocked(check []byte) {
	d.key.holds = check
	if check == nil {
		d.key.holds = d.key.genesis
	}
	d.rekeyed.Store(check != nil || d.key.other())
	d.later = newCache[Hash, Hash](d.o.CacheEntries)
}

// knownBy finds the hash by which the log knows what has this hash under our
// key; false while that cannot be told.
func (d *Directory) knownBy(h Hash) (Hash, bool) {
	if !d.rekeyed.Load() {
		return h, true
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.st == nil || d.key.other() {
		return h, false
	}
	s := &snapshot{d: d}
	defer s.close()
	known, err := s.known(h)
	return known, err == nil
}

// sure refuses identifiers that were made while it could not be told by which
// hash the log knows them.
func sure(ids ...Identifier) error {
	for i := range ids {
		if ids[i].unsure {
			return fmt.Errorf("%w: %s was told before it could be looked for", ErrNotReady, ids[i].Type)
		}
	}
	return nil
}

// known finds what h stands for in the log: itself, if it is no later one.
func (s *snapshot) known(h Hash) (Hash, error) {
	if known, ok := s.d.later.get(h); ok {
		return known, nil
	}
	v, err := s.row(laterGroup, string(h[:]))
	if err != nil {
		return h, err
	}
	known := h
	if v != nil {
		if len(v) != len(Hash{}) {
			return h, fmt.Errorf("row of a later hash of %d bytes, %d wanted", len(v), len(Hash{}))
		}
		known = Hash(v)
	}
	// Also that it is none: those of the key that holds are all there.
	s.d.later.put(h, known)
	return known, nil
}

// RekeyOptions say how the key is changed.
type RekeyOptions struct {
	Log events.Log
	// Key is the one that holds, Next the one that is to.
	Key, Next Key
	// Minter makes message ids; Gateway is the ULID of this process.
	Minter  *Minter
	Gateway []byte
	// DryRun only counts.
	DryRun bool
	// Progress is told of a stream, how many of its messages are read, and how
	// many it has. It may be nil.
	Progress func(stream events.Stream, read, of uint64)
}

// Rekeyed is what a change of the key came to.
type Rekeyed struct {
	// Already: the next key holds since an earlier call.
	Already bool
	// Known identifiers will be recognised under the next key; of these Given
	// were noted by an earlier call that did not come to its end.
	Known, Given int
	// Lost are those that no event tells, by type: told by hand, or with an
	// event that was refused. Whoever is told by one of them from now on, is
	// somebody new.
	Lost map[string]int
}

// pairsPerMessage bounds a message: 128 KiB of pairs.
const pairsPerMessage = 4_096

// ErrServing tells that identities were decided while the key was changed.
var ErrServing = errors.New("rekey: somebody appended to IDENTITY meanwhile: stop every process that serves this log, and run it again")

// Rekey changes the identity key of a log that nobody serves. The next key holds
// from the last message on that it appends; if it fails or dies before, the
// former one does, and calling it again with the same keys completes it.
// Errors: events.ErrIdentityKey, ErrServing, those of the log.
//
// It keeps the hash and type of every identifier in memory, about 150 bytes
// each.
func Rekey(ctx context.Context, o RekeyOptions) (Rekeyed, error) {
	if o.Progress == nil {
		o.Progress = func(events.Stream, uint64, uint64) {}
	}
	genesis, err := events.ReadGenesis(ctx, o.Log)
	if err != nil {
		return Rekeyed{}, err
	}
	k := &rekeying{
		o: o, former: newHasher(o.Key), next: newHasher(o.Next), holds: genesis.GetIdentityKeyCheck(),
		named: map[Hash]string{}, aliases: map[Hash]Hash{}, given: map[Hash]bool{}, found: map[Hash]bool{},
	}
	if err := k.readIdentity(ctx); err != nil {
		return Rekeyed{}, err
	}
	switch {
	case bytes.Equal(k.holds, KeyCheck(o.Next)):
		return Rekeyed{Already: true}, nil
	case !bytes.Equal(k.holds, KeyCheck(o.Key)):
		return Rekeyed{}, events.ErrIdentityKey
	}
	for p := range int(genesis.GetPartitions()) {
		if err := k.readBodies(ctx, p); err != nil {
			return Rekeyed{}, err
		}
	}
	if !o.DryRun {
		if err := k.append(ctx); err != nil {
			return Rekeyed{}, err
		}
	}
	return k.report(), nil
}

// rekeying is one call of Rekey.
type rekeying struct {
	o            RekeyOptions
	former, next *hasher
	holds        []byte // check value of the key that holds
	last         uint64 // of IDENTITY
	// Hashes in the log. Every identifier that was ever bound or blocked, by its
	// type; those whose pair an earlier call appended; those found in a body.
	named map[Hash]string
	given map[Hash]bool
	found map[Hash]bool
	// aliases are hashes under the former key: those in the log.
	aliases map[Hash]Hash
	pairs   []byte
}

func (k *rekeying) readIdentity(ctx context.Context) error {
	info, err := k.o.Log.Info(ctx, events.IdentityStream)
	if err != nil {
		return fmt.Errorf("info of %s: %w", events.IdentityStream, err)
	}
	k.last = info.Last
	return events.ReadIdentity(ctx, k.o.Log, 1, info.Last, func(m events.Message, id *logv1.Identity) error {
		k.o.Progress(events.IdentityStream, m.Seq, info.Last)
		for _, d := range id.GetBindings().GetDecisions() {
			if err := k.decided(d); err != nil {
				return fmt.Errorf("IDENTITY message %d: %w", m.Seq, err)
			}
		}
		return nil
	})
}

func (k *rekeying) decided(d *logv1.Decision) error {
	ids := append(d.GetCreated().GetIdentifiers(), d.GetLinked().GetIdentifiers()...)
	if b := d.GetBlocked(); b != nil {
		ids = append(ids, b.Identifier)
	}
	for _, id := range ids {
		h, err := hashOf(id)
		if err != nil {
			return err
		}
		k.named[h] = id.GetType()
	}
	r := d.GetRekeyed()
	if r == nil {
		return nil
	}
	t := newTables()
	if err := t.rekey(r); err != nil {
		return err
	}
	for key, value := range t.rows[laterGroup] {
		h, known := Hash([]byte(key)), Hash(value)
		switch {
		case bytes.Equal(r.KeyCheck, KeyCheck(k.o.Key)):
			k.aliases[h] = known
		case bytes.Equal(r.KeyCheck, KeyCheck(k.o.Next)):
			k.given[known] = true
		}
	}
	if r.Done {
		k.holds = r.KeyCheck
	}
	return nil
}

// readBodies reads the events of a partition as they were logged first; a move
// repeats some of another's.
func (k *rekeying) readBodies(ctx context.Context, p int) error {
	stream := events.PartitionStream(p)
	info, err := k.o.Log.Info(ctx, stream)
	if err != nil {
		return fmt.Errorf("info of %s: %w", stream, err)
	}
	r, err := k.o.Log.Read(ctx, stream, 1)
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	defer r.Close()
	for seq := uint64(1); seq <= info.Last; seq++ {
		m, err := r.Next(ctx)
		if err != nil {
			return fmt.Errorf("read %s at %d: %w", stream, seq, err)
		}
		k.o.Progress(stream, seq, info.Last)
		if m.Subject != events.SubjectEvents(p) {
			continue
		}
		record := &logv1.Record{}
		if err := events.Open(m.Data, record); err != nil {
			return fmt.Errorf("%s message %d: %w", stream, seq, err)
		}
		for _, e := range record.Events {
			k.readBody(e)
		}
	}
	return nil
}

// readBody notes the identifiers of a body, which stand there in their normal
// form. One that cannot be read tells none, as for a fold.
func (k *rekeying) readBody(e *logv1.LoggedEvent) {
	body := &eventsv1.Event{}
	if e.GetHeader().GetKeyId() != 0 || proto.Unmarshal(e.Body, body) != nil {
		return
	}
	for _, id := range body.GetIdentifiers() {
		k.note(id.GetType(), id.GetValue())
	}
	for _, id := range [...]*eventsv1.Identifier{
		body.GetAlias().GetPrevious(), body.GetReferral().GetReferee(), body.GetReferral().GetReferrer(),
	} {
		k.note(id.GetType(), id.GetValue())
	}
	k.note(events.CompanyID, body.GetGroup().GetGroupId())
}

func (k *rekeying) note(typ, value string) {
	typ = canonicalType(typ)
	h := k.former.hash(typ, value)
	if known, ok := k.aliases[h]; ok {
		h = known
	}
	if _, named := k.named[h]; !named || k.found[h] {
		return
	}
	k.found[h] = true
	if k.given[h] {
		return
	}
	under := k.next.hash(typ, value)
	k.pairs = append(append(k.pairs, under[:]...), h[:]...)
}

// append says the pairs, and last that the next key holds.
func (k *rekeying) append(ctx context.Context) error {
	check := KeyCheck(k.o.Next)
	for pairs := k.pairs; len(pairs) > 0; {
		n := min(len(pairs), pairsPerMessage*pairedBytes)
		if err := k.say(ctx, &logv1.Rekeyed{KeyCheck: check, Hashes: pairs[:n]}); err != nil {
			return err
		}
		pairs = pairs[n:]
	}
	return k.say(ctx, &logv1.Rekeyed{KeyCheck: check, Done: true})
}

func (k *rekeying) say(ctx context.Context, r *logv1.Rekeyed) error {
	batch := k.o.Minter.Mint()
	frame, err := events.Seal(&logv1.Identity{
		Gateway: k.o.Gateway, Batch: batch[:], Content: &logv1.Identity_Bindings{Bindings: &logv1.Bindings{
			Decisions: []*logv1.Decision{{Decision: &logv1.Decision_Rekeyed{Rekeyed: r}}},
		}},
	})
	if err != nil {
		return err
	}
	seq, err := k.o.Log.Append(ctx, events.IdentityStream, events.SubjectBind, frame, events.ExpectLast(k.last))
	switch {
	case errors.Is(err, events.ErrConflict):
		return ErrServing
	case err != nil:
		return fmt.Errorf("rekey: append at %d: %w", k.last, err)
	}
	k.last = seq
	return nil
}

func (k *rekeying) report() Rekeyed {
	r := Rekeyed{Known: len(k.found), Lost: map[string]int{}}
	for h, typ := range k.named {
		switch {
		case !k.found[h]:
			r.Lost[typ]++
		case k.given[h]:
			r.Given++
		}
	}
	return r
}
