package store

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
)

// Memory is a [Store] in memory for tests: what was committed survives
// [Memory.Crash], as a directory survives a process. It starts no goroutine.
type Memory struct {
	// Fault, if set, is asked before the n-th commit (from 1). It says whether
	// the batch is stored, and the error to answer: the ways a commit can end
	// when the process dies in it.
	Fault func(n int) (stored bool, err error)

	mu      sync.Mutex
	keys    []string // sorted
	values  map[string][]version
	commit  uint64
	commits int
	closed  bool
}

type version struct {
	commit uint64
	value  []byte // nil: deleted
}

var _ Store = (*Memory)(nil)

// OpenMemory returns an empty store.
func OpenMemory() *Memory { return &Memory{values: map[string][]version{}} }

// Reopen makes a closed or crashed store usable again, with all that was
// committed.
func (m *Memory) Reopen() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = false
}

// Crash ends the life of the program that uses the store: every commit from
// now on fails and stores nothing, until Reopen.
func (m *Memory) Crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}

// Commits is the number of commits begun.
func (m *Memory) Commits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits
}

// View implements [Store].
func (m *Memory) View() View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memoryView{m: m, at: m.commit}
}

// Commit implements [Store].
func (m *Memory) Commit(b *Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if b.Bytes() > MaxBatchBytes || b.Len() > MaxBatchKeys {
		return fmt.Errorf("commit %d bytes, %d keys: %w", b.Bytes(), b.Len(), ErrBatchTooBig)
	}
	m.commits++
	stored, err := true, error(nil)
	if m.Fault != nil {
		stored, err = m.Fault(m.commits)
	}
	if stored {
		m.apply(b)
	}
	if err != nil {
		m.closed = true
	}
	return err
}

func (m *Memory) apply(b *Batch) {
	m.commit++
	fresh := false
	for key, value := range b.ops {
		if len(m.values[key]) == 0 {
			m.keys, fresh = append(m.keys, key), true
		}
		m.values[key] = append(m.values[key], version{m.commit, slices.Clone(value)})
		if value != nil && len(value) == 0 {
			m.values[key][len(m.values[key])-1].value = []byte{}
		}
	}
	if fresh {
		sort.Strings(m.keys)
	}
}

// Close implements [Store].
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.New("store: closed twice")
	}
	m.closed = true
	return nil
}

type memoryView struct {
	m  *Memory
	at uint64
}

func (v *memoryView) Get(key []byte) ([]byte, error) {
	v.m.mu.Lock()
	defer v.m.mu.Unlock()
	return slices.Clone(v.lookLocked(string(key))), nil
}

func (v *memoryView) lookLocked(key string) []byte {
	versions := v.m.values[key]
	for i := len(versions) - 1; i >= 0; i-- {
		if versions[i].commit <= v.at {
			return versions[i].value
		}
	}
	return nil
}

func (v *memoryView) Scan(from, to []byte, reverse bool, fn func(key, value []byte) bool) error {
	type pair struct {
		key   string
		value []byte
	}
	v.m.mu.Lock()
	i := sort.SearchStrings(v.m.keys, string(from))
	end := len(v.m.keys)
	if to != nil {
		end = sort.SearchStrings(v.m.keys, string(to))
	}
	keys := v.m.keys[i:max(i, end)]
	// Values are looked up one by one below, so that a long scan that stops
	// early costs little; the sorted slice may be replaced meanwhile.
	keys = slices.Clone(keys)
	v.m.mu.Unlock()
	for n := range keys {
		key := keys[n]
		if reverse {
			key = keys[len(keys)-1-n]
		}
		v.m.mu.Lock()
		p := pair{key, v.lookLocked(key)}
		v.m.mu.Unlock()
		if p.value == nil {
			continue
		}
		if !fn([]byte(p.key), p.value) {
			return nil
		}
	}
	return nil
}

func (v *memoryView) Close() {}
