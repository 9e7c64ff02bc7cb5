// Package store keeps ordered keys for one owner: a partition or the
// directory. It is the only importer of Badger.
//
// What it promises: a [Batch] is committed whole or not at all, also across a
// crash at any instant; a [View] is one commit, whole, for as long as it is
// open, and never waits for a commit. There is one writer at a time.
//
// What it does not: a store is a cache of the log. Its owner checks it against
// the log when it opens and throws it away on any doubt ([SetAside]).
package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Errors of opening and committing.
var (
	// ErrUnclean: the machine went down while a store without synced writes
	// was open; parts of it may be missing in the middle. Rebuild it.
	ErrUnclean = errors.New("store: the machine stopped while the store was open unsynced")
	// ErrBatchTooBig: the batch exceeds what one transaction may hold.
	ErrBatchTooBig = errors.New("store: batch too big")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store: closed")
)

// Bounds of one batch; a writer commits before it reaches them.
const (
	// MaxBatchBytes is what a batch may hold, keys and values, with room for
	// Badger's own 15 % of a 32 MiB memtable.
	MaxBatchBytes = 4 << 20
	// MaxBatchKeys likewise bounds the number of keys.
	MaxBatchKeys = 40_000
)

// Store is an ordered map of bytes. View is safe for concurrent use; Commit
// and Close belong to one goroutine.
type Store interface {
	// View opens a snapshot of the last commit. Close it soon: what an open
	// view can see is kept on disk.
	View() View
	// Commit applies a batch atomically. When it returns nil the batch
	// survives kill -9, and power loss if the store was opened with Sync.
	// After an error the store must be closed: what it holds is the state
	// before or after the batch.
	Commit(b *Batch) error
	// Close ends the store. Views must be closed before.
	Close() error
}

// View is a snapshot. It is safe for concurrent use until it is closed.
type View interface {
	// Get returns a copy of the value, nil if there is none.
	Get(key []byte) ([]byte, error)
	// Scan calls fn for the keys in [from, to), ascending or descending, until
	// fn returns false. key and value are valid only during the call.
	Scan(from, to []byte, reverse bool, fn func(key, value []byte) (more bool)) error
	Close()
}

// Batch gathers puts and deletes. The last word on a key wins. It takes
// ownership of the slices it is given. The zero Batch is ready to use.
type Batch struct {
	ops   map[string][]byte // nil: delete
	bytes int
}

// Put sets a key. A nil value is stored as an empty one.
func (b *Batch) Put(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	b.set(key, value)
}

// Delete removes a key; one that is not there is no error.
func (b *Batch) Delete(key []byte) { b.set(key, nil) }

func (b *Batch) set(key, value []byte) {
	if b.ops == nil {
		b.ops = make(map[string][]byte)
	}
	b.ops[string(key)] = value
	b.bytes += len(key) + len(value)
}

// Len is the number of keys touched.
func (b *Batch) Len() int { return len(b.ops) }

// Bytes is at least the number of bytes of keys and values.
func (b *Batch) Bytes() int { return b.bytes }

// transient are texts of errors that say nothing about the bytes in a store:
// Badger passes the system's errors on as text.
var transient = []string{
	syscall.ENOSPC.Error(), syscall.EDQUOT.Error(), syscall.EACCES.Error(), syscall.EPERM.Error(), syscall.EROFS.Error(),
	syscall.EMFILE.Error(), syscall.ENFILE.Error(), syscall.EIO.Error(), syscall.ENOMEM.Error(), syscall.EAGAIN.Error(),
	"Cannot acquire directory lock",
}

// Doubtful reports whether an error of opening a store says that its bytes
// cannot be trusted. A full disk, a missing permission or another process in
// the directory do not: then the store stays where it is.
func Doubtful(err error) bool {
	text := err.Error()
	return !slices.ContainsFunc(transient, func(t string) bool { return strings.Contains(text, t) })
}

// PrefixEnd is the least key beyond all keys with the prefix, for Scan.
func PrefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil // no bound
}

// SetAside renames a store's directory so that a fresh one can take its place,
// and returns the new name. The old bytes are kept for whoever wants to know
// what was wrong; an operator deletes them.
func SetAside(dir string, now time.Time) (string, error) {
	for n := 0; ; n++ {
		aside := fmt.Sprintf("%s.aside-%s-%d", dir, now.UTC().Format("20060102T150405"), n)
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		if err := os.Rename(dir, aside); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return "", nil
			}
			return "", fmt.Errorf("set aside %s: %w", dir, err)
		}
		return aside, syncDir(filepath.Dir(dir))
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	defer d.Close()
	return d.Sync()
}
