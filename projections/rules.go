package projections

import (
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
	// keptRules is how many rules that every partition has heard are let go at
	// once.
	keptRules = 1_024
)

// Rules follows the rules of IDENTITY for the notice writers of all partitions
// of a process. It holds those that some partition has not heard; for one that
// begins anew it reads IDENTITY again.
type Rules struct {
	mu      sync.Mutex
	rules   []*logv1.Relay // in order, prev and all
	floor   uint64         // a rule up to here may be missing from rules
	read    uint64         // IDENTITY was read up to here
	last    uint64         // the last rule up to read
	heard   map[int]uint64 // partition to the rule it heard last
	changed chan struct{}  // closed and replaced when any of this changes
	restart context.CancelFunc
}

// NewRules returns an empty follower; Run it.
func NewRules() *Rules { return &Rules{changed: make(chan struct{}), heard: map[int]uint64{}} }

// after returns the next rules beyond seq, none if none are known yet, and a
// channel that closes when more are known.
func (r *Rules) after(partition int, seq uint64) ([]*logv1.Relay, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard[partition] = seq
	if seq < r.floor {
		r.rewind(seq)
	}
	i, _ := slices.BinarySearchFunc(r.rules, seq+1, func(relay *logv1.Relay, seq uint64) int { return compareSeqs(relay.Seq, seq) })
	n, size := i, 0
	for n < len(r.rules) && n-i < maxRelays {
		if size += proto.Size(r.rules[n]) + 8; n > i && size > maxRelayBytes {
			break
		}
		n++
	}
	if n > i && r.rules[i].Prev > seq {
		return nil, r.changed // what is between is being read
	}
	next := r.rules[i:n:n]
	r.letGo()
	return next, r.changed
}

func compareSeqs(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// letGo drops rules that every partition has heard.
func (r *Rules) letGo() {
	heard := r.read
	for _, seq := range r.heard {
		heard = min(heard, seq)
	}
	i := 0
	for i < len(r.rules) && r.rules[i].Seq <= heard {
		i++
	}
	if i >= keptRules {
		r.floor = r.rules[i-1].Seq
		r.rules = slices.Clone(r.rules[i:])
	}
}

// rewind has IDENTITY read again from behind seq.
func (r *Rules) rewind(seq uint64) {
	r.rules, r.floor, r.read, r.last = nil, seq, seq, seq
	if r.restart != nil {
		r.restart()
	}
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
		r.heard[p.o.ID] = s.ruleSeq
		if i == 0 || s.ruleSeq < r.floor {
			r.floor, r.read, r.last = s.ruleSeq, s.ruleSeq, s.ruleSeq
		}
	}
}

// Run reads IDENTITY until the context ends, or until the log is corrupt.
func (r *Rules) Run(ctx context.Context, l events.Log) error {
	for ctx.Err() == nil {
		reading, cancel := context.WithCancel(ctx)
		r.mu.Lock()
		r.restart = cancel
		next := r.read + 1
		r.mu.Unlock()
		err := r.follow(reading, l, next)
		again := reading.Err() != nil // rewound, or the end
		cancel()
		if errors.Is(err, events.ErrCorrupt) {
			return fmt.Errorf("follow rules: %w", err)
		}
		if again {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// follow reads until an error.
func (r *Rules) follow(ctx context.Context, l events.Log, next uint64) error {
	reader, err := l.Read(ctx, events.IdentityStream, next)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		var rule *logv1.Rule
		if m.Subject == events.SubjectRule {
			identity := &logv1.Identity{}
			if err := events.Open(m.Data, identity); err != nil {
				return fmt.Errorf("%s message %d: %w", events.IdentityStream, m.Seq, err)
			}
			rule = identity.GetRule()
		}
		if !r.add(ctx, m.Seq, rule) {
			return ctx.Err()
		}
	}
}

// add takes in the message at seq; rule is nil if it is none. It reports false
// if IDENTITY is to be read from elsewhere.
func (r *Rules) add(ctx context.Context, seq uint64, rule *logv1.Rule) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil || seq != r.read+1 {
		return false
	}
	if rule != nil {
		r.rules = append(r.rules, &logv1.Relay{Seq: seq, Prev: r.last, Rule: rule})
		r.last = seq
	}
	r.read = seq
	close(r.changed)
	r.changed = make(chan struct{})
	return true
}

// unheard is how many rules that are known a partition has not heard.
func (r *Rules) unheard(seq uint64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearchFunc(r.rules, seq+1, func(relay *logv1.Relay, seq uint64) int { return compareSeqs(relay.Seq, seq) })
	return len(r.rules) - i
}

// unread is how many messages of IDENTITY up to its end were not read.
func (r *Rules) unread(end uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return end - min(r.read, end)
}
