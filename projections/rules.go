package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Bounds of what is relayed in one notice.
const (
	maxRelays     = 256
	maxRelayBytes = 256 << 10
)

// keptRules and keptRuleBytes bound the rules held in memory; at least one is.
const (
	keptRules     = 1_024
	keptRuleBytes = 8 << 20
)

// Rules follows the rules of IDENTITY for the notice writers of all partitions
// of a process. It holds the last ones; a partition that is further behind reads
// IDENTITY itself.
type Rules struct {
	mu      sync.Mutex
	rules   []*logv1.Relay // in order, prev and all
	bytes   int            // of rules
	floor   uint64         // the last rule that is not among rules; 0: none was before
	read    uint64         // IDENTITY was read up to here
	last    uint64         // the last rule up to read
	changed chan struct{}  // closed and replaced when any of this changes
}

// NewRules returns an empty follower; Run it.
func NewRules() *Rules { return &Rules{changed: make(chan struct{})} }

// after returns the next rules beyond seq, the last that a partition has heard,
// none if none are known yet, and a channel that closes when more are known.
func (r *Rules) after(ctx context.Context, l events.Log, seq uint64) ([]*logv1.Relay, <-chan struct{}, error) {
	r.mu.Lock()
	floor, changed := r.floor, r.changed
	if seq >= floor {
		defer r.mu.Unlock()
		i := r.beyond(seq)
		return page(r.rules[i:]), changed, nil
	}
	r.mu.Unlock()
	relays, err := readRules(ctx, l, seq, floor)
	return relays, changed, err
}

// beyond is the index of the first rule kept beyond seq.
func (r *Rules) beyond(seq uint64) int {
	i, _ := slices.BinarySearchFunc(r.rules, seq+1, func(relay *logv1.Relay, seq uint64) int { return cmp.Compare(relay.Seq, seq) })
	return i
}

// page returns as many of the first relays as one notice holds.
func page(relays []*logv1.Relay) []*logv1.Relay {
	size := 0
	for n, relay := range relays {
		if size += relaySize(relay); n == maxRelays || n > 0 && size > maxRelayBytes {
			return relays[:n:n]
		}
	}
	return relays[:len(relays):len(relays)]
}

func relaySize(relay *logv1.Relay) int { return proto.Size(relay) + 8 }

// readRules reads from IDENTITY as many rules behind the rule at seq as one
// notice holds, up to the one at end.
func readRules(ctx context.Context, l events.Log, seq, end uint64) ([]*logv1.Relay, error) {
	reader, err := l.Read(ctx, events.IdentityStream, seq+1)
	if err != nil {
		return nil, fmt.Errorf("read rules behind %d: %w", seq, err)
	}
	defer reader.Close()
	var relays []*logv1.Relay
	for last, size := seq, 0; len(relays) < maxRelays && size < maxRelayBytes && last < end; {
		m, err := reader.Next(ctx)
		if err != nil {
			return nil, fmt.Errorf("read rules behind %d: %w", last, err)
		}
		if m.Seq > end {
			break // not reached: there is a rule at end
		}
		rule, err := ruleIn(m)
		if err != nil {
			return nil, err
		}
		if rule != nil {
			relay := &logv1.Relay{Seq: m.Seq, Prev: last, Rule: rule}
			relays, size, last = append(relays, relay), size+relaySize(relay), m.Seq
		}
	}
	return page(relays), nil
}

// ruleIn is the rule that a message of IDENTITY holds; nil: it is none.
func ruleIn(m events.Message) (*logv1.Rule, error) {
	if m.Subject != events.SubjectRule {
		return nil, nil
	}
	identity := &logv1.Identity{}
	if err := events.Open(m.Data, identity); err != nil {
		return nil, fmt.Errorf("%s message %d: %w", events.IdentityStream, m.Seq, err)
	}
	return identity.GetRule(), nil
}

// lastUpTo waits until IDENTITY was read up to seq and returns the last rule up
// to it that is known, else the last that is no longer kept.
func (r *Rules) lastUpTo(ctx context.Context, seq uint64) (uint64, error) {
	for {
		r.mu.Lock()
		read, changed := r.read, r.changed
		last := r.floor
		for _, relay := range slices.Backward(r.rules) {
			if relay.Seq <= seq {
				last = relay.Seq
				break
			}
		}
		r.mu.Unlock()
		if read >= seq {
			return min(last, seq), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Begin says where partitions stand, before Run: rules that all of them have
// heard are not read.
func (r *Rules) Begin(partitions ...*Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, p := range partitions {
		s, _ := p.watch()
		if i == 0 || s.ruleSeq < r.floor {
			r.floor, r.read, r.last = s.ruleSeq, s.ruleSeq, s.ruleSeq
		}
	}
}

// Run reads IDENTITY until the context ends, or until the log is corrupt.
func (r *Rules) Run(ctx context.Context, l events.Log) error {
	for ctx.Err() == nil {
		err := r.follow(ctx, l)
		if errors.Is(err, events.ErrCorrupt) {
			return fmt.Errorf("follow rules: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// follow reads until an error.
func (r *Rules) follow(ctx context.Context, l events.Log) error {
	reader, err := l.Read(ctx, events.IdentityStream, r.readUpTo()+1)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		rule, err := ruleIn(m)
		if err != nil {
			return err
		}
		if !r.add(m.Seq, rule) {
			return fmt.Errorf("%s message %d is not the next", events.IdentityStream, m.Seq)
		}
	}
}

func (r *Rules) readUpTo() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read
}

// add takes in the message at seq; rule is nil if it is none. The oldest rules
// make room. It reports false if it is not the next message.
func (r *Rules) add(seq uint64, rule *logv1.Rule) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq != r.read+1 {
		return false
	}
	if rule != nil {
		relay := &logv1.Relay{Seq: seq, Prev: r.last, Rule: rule}
		r.rules, r.bytes, r.last = append(r.rules, relay), r.bytes+relaySize(relay), seq
	}
	for len(r.rules) > keptRules || len(r.rules) > 1 && r.bytes > keptRuleBytes {
		oldest := r.rules[0]
		r.rules[0] = nil
		r.rules, r.bytes, r.floor = r.rules[1:], r.bytes-relaySize(oldest), oldest.Seq
	}
	r.read = seq
	close(r.changed)
	r.changed = make(chan struct{})
	return true
}

// unheard is how many rules that are held a partition has not heard.
func (r *Rules) unheard(seq uint64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.rules) - r.beyond(seq)
}

// unread is how many messages of IDENTITY up to its end were not read.
func (r *Rules) unread(end uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return end - min(r.read, end)
}
