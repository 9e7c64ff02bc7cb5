package directory

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// Minter makes ULIDs that only rise, also when the clock steps back: customers
// made by one gateway sort by age. Safe for concurrent use.
type Minter struct {
	now     func() time.Time
	entropy io.Reader

	mu   sync.Mutex
	last ulid.ULID
}

// NewMinter takes its time and randomness from the caller. The reader must not
// fail.
func NewMinter(now func() time.Time, entropy io.Reader) *Minter {
	return &Minter{now: now, entropy: entropy}
}

// Mint returns a ULID greater than all before.
func (m *Minter) Mint() ulid.ULID {
	m.mu.Lock()
	defer m.mu.Unlock()
	millis := ulid.Timestamp(m.now())
	if millis <= m.last.Time() {
		if m.increment() {
			return m.last
		}
		millis = m.last.Time() + 1
	}
	id, err := ulid.New(millis, m.entropy)
	if err != nil {
		panic(fmt.Sprintf("not reached: entropy for a ULID: %v", err))
	}
	m.last = id
	return id
}

// increment adds one to the 80 random bits and reports whether they held it.
func (m *Minter) increment() bool {
	for i := len(m.last) - 1; i >= 6; i-- {
		m.last[i]++
		if m.last[i] != 0 {
			return true
		}
	}
	return false
}
