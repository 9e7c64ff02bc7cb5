package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Options of a Badger store. The zero Options are usable.
type Options struct {
	// Sync makes a commit survive power loss. A store must never be more
	// durable than the log it was folded from.
	Sync bool
	// BlockCacheBytes bounds the cache of unpacked blocks; 0 means 32 MiB.
	BlockCacheBytes int64
	Logger          *slog.Logger
}

// Keys that begin with a zero byte are the store's own.
const ownKeys = 0x00

// commitKey holds the number of the last commit; Badger's versions are these
// numbers, so that a view is a commit.
var commitKey = []byte{ownKeys, 'n'}

// A value beyond pieceBytes is stored in pieces: Badger would put one beyond
// 1 MiB into its value log, which nobody collects. The first piece stands under
// the key, marked, the others under keys of the store's own. Pieces that a
// smaller value leaves behind are overwritten when it is large again.
const (
	pieceBytes   = 512 << 10
	inPieces     = byte(1) // user meta of the first piece
	maxPieces    = 255
	pieceKeyMark = 'v'
)

func pieceKey(key []byte, n int) []byte {
	return append([]byte{ownKeys, pieceKeyMark, byte(n)}, key...)
}

// set stores a value, in pieces if it is large.
func set(txn *badger.Txn, key, value []byte) error {
	if len(value) <= pieceBytes {
		return txn.Set(key, value)
	}
	first, rest := value[:pieceBytes], value[pieceBytes:]
	n := (len(rest) + pieceBytes - 1) / pieceBytes
	if n > maxPieces {
		return ErrBatchTooBig
	}
	for i := range n {
		if err := txn.Set(pieceKey(key, i), rest[i*pieceBytes:min((i+1)*pieceBytes, len(rest))]); err != nil {
			return err
		}
	}
	marked := append([]byte{byte(n)}, first...)
	return txn.SetEntry(badger.NewEntry(key, marked).WithMeta(inPieces))
}

// whole returns the value of an item, put together.
func whole(txn *badger.Txn, item *badger.Item) ([]byte, error) {
	value, err := item.ValueCopy(nil)
	if err != nil || item.UserMeta() != inPieces {
		return value, err
	}
	n, value := int(value[0]), value[1:]
	for i := range n {
		piece, err := txn.Get(pieceKey(item.KeyCopy(nil), i))
		if err != nil {
			return nil, fmt.Errorf("piece %d of %d: %w", i, n, err)
		}
		if err := piece.Value(func(b []byte) error { value = append(value, b...); return nil }); err != nil {
			return nil, err
		}
	}
	return value, nil
}

// Badger is a [Store] in a directory of its own.
type Badger struct {
	db  *badger.DB
	dir string
	// unsynced says that an open-marker file guards the directory.
	unsynced bool

	mu     sync.Mutex
	commit uint64         // last commit, the version that views read
	views  map[uint64]int // open views by version
}

var _ Store = (*Badger)(nil)

// OpenBadger opens or creates a store. Any error means: set aside and rebuild.
func OpenBadger(dir string, o Options) (*Badger, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if !o.Sync {
		if err := markOpen(dir); err != nil {
			return nil, err
		}
	}
	cache := o.BlockCacheBytes
	if cache == 0 {
		cache = 32 << 20
	}
	db, err := badger.OpenManaged(badger.DefaultOptions(dir).
		WithLogger(quietLogger{o.Logger}).
		WithSyncWrites(o.Sync).
		WithDetectConflicts(false). // one writer
		WithNumVersionsToKeep(1).
		WithMemTableSize(32 << 20). // transaction limit 5 MB, 52k keys
		WithNumMemtables(3).
		WithNumCompactors(2). // 1 is refused, 4 are too many on small machines
		WithBaseTableSize(8 << 20).
		WithBaseLevelSize(32 << 20).
		WithValueThreshold(1 << 20).    // all in the tree, see pieceBytes: no value log to collect
		WithValueLogFileSize(16 << 20). // the default makes a sparse file of 2 GiB
		WithCompression(options.Snappy).
		WithBlockSize(8 << 10).
		WithBlockCacheSize(cache).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithMetricsEnabled(false))
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if err := verifyTables(db); err != nil {
		db.Close()
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s := &Badger{db: db, dir: dir, unsynced: !o.Sync, views: map[uint64]int{}}
	txn := db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	switch item, err := txn.Get(commitKey); {
	case err == nil:
		err = item.Value(func(v []byte) error {
			if len(v) != 8 {
				return fmt.Errorf("commit number of %d bytes", len(v))
			}
			s.commit = binary.BigEndian.Uint64(v)
			return nil
		})
		if err != nil {
			db.Close()
			return nil, fmt.Errorf("open store %s: %w", dir, err)
		}
	case !errors.Is(err, badger.ErrKeyNotFound):
		db.Close()
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return s, nil
}

// verifyTables reads every block once. An iteration passes silently over a
// table that fails its check, as if its keys had never been: so damage must be
// found before the first scan. Badger's own verification at opening ends the
// process with a nil pointer where a block does not unpack; called from here
// the same panic is an error.
func verifyTables(db *badger.DB) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged table: %v", p)
		}
	}()
	return db.VerifyChecksum()
}

// View implements [Store].
func (s *Badger) View() View {
	s.mu.Lock()
	at := s.commit
	s.views[at]++
	s.mu.Unlock()
	return &badgerView{s: s, at: at, txn: s.db.NewTransactionAt(at, false)}
}

// Commit implements [Store].
func (s *Badger) Commit(b *Batch) error {
	next := s.commit + 1
	txn := s.db.NewTransactionAt(s.commit, true)
	defer txn.Discard()
	for key, value := range b.ops {
		var err error
		if value == nil {
			err = txn.Delete([]byte(key))
		} else {
			err = set(txn, []byte(key), value)
		}
		if err != nil {
			return fmt.Errorf("commit %d of %s: key of %d bytes, value of %d: %w", next, s.dir, len(key), len(value), asOurs(err))
		}
	}
	if err := txn.Set(commitKey, binary.BigEndian.AppendUint64(nil, next)); err != nil {
		return fmt.Errorf("commit %d of %s: %w", next, s.dir, asOurs(err))
	}
	// A crash up to here leaves the commit before; from here on Badger replays
	// the transaction whole or not at all.
	if err := txn.CommitAt(next, nil); err != nil {
		return fmt.Errorf("commit %d of %s: %w", next, s.dir, asOurs(err))
	}
	s.mu.Lock()
	s.commit = next
	s.db.SetDiscardTs(s.oldestLocked() - 1)
	s.mu.Unlock()
	return nil
}

// oldestLocked is the oldest version that someone may read, at least 1.
func (s *Badger) oldestLocked() uint64 {
	oldest := s.commit
	for at := range s.views {
		oldest = min(oldest, at)
	}
	return max(oldest, 1)
}

// Close implements [Store].
func (s *Badger) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	if s.unsynced {
		return markClosed(s.dir)
	}
	return nil
}

func asOurs(err error) error {
	switch {
	case errors.Is(err, badger.ErrTxnTooBig):
		return ErrBatchTooBig
	case errors.Is(err, badger.ErrBlockedWrites), errors.Is(err, badger.ErrDBClosed):
		return ErrClosed
	default:
		return err
	}
}

type badgerView struct {
	s   *Badger
	at  uint64
	txn *badger.Txn

	closeOnce sync.Once
}

func (v *badgerView) Get(key []byte) ([]byte, error) {
	item, err := v.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get from store: %w", err)
	}
	value, err := whole(v.txn, item)
	if err != nil {
		return nil, fmt.Errorf("get from store: %w", err)
	}
	if value == nil {
		value = []byte{}
	}
	return value, nil
}

func (v *badgerView) Scan(from, to []byte, reverse bool, fn func(key, value []byte) bool) error {
	o := badger.DefaultIteratorOptions
	o.Reverse = reverse
	// Values lie beside their keys; fetching ahead would only copy what a scan
	// that stops early never looks at.
	o.PrefetchValues = false
	it := v.txn.NewIterator(o)
	defer it.Close()
	start := from
	if reverse {
		start = to // Badger seeks the greatest key <= start; `to` itself is skipped below
	}
	for it.Seek(start); it.Valid(); it.Next() {
		item := it.Item()
		key := item.Key()
		if reverse {
			if to != nil && string(key) >= string(to) {
				continue
			}
			if string(key) < string(from) {
				return nil
			}
		} else if to != nil && string(key) >= string(to) {
			return nil
		}
		if len(key) > 0 && key[0] == ownKeys {
			continue
		}
		more := true
		if item.UserMeta() == inPieces {
			value, err := whole(v.txn, item)
			if err != nil {
				return fmt.Errorf("scan store: %w", err)
			}
			more = fn(key, value)
		} else if err := item.Value(func(value []byte) error { more = fn(key, value); return nil }); err != nil {
			return fmt.Errorf("scan store: %w", err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

func (v *badgerView) Close() {
	v.closeOnce.Do(func() {
		v.txn.Discard()
		v.s.mu.Lock()
		defer v.s.mu.Unlock()
		if v.s.views[v.at]--; v.s.views[v.at] == 0 {
			delete(v.s.views, v.at)
		}
	})
}

// Without synced writes, power loss can lose memtables in any order: a hole
// with a later checkpoint intact. So while such a store is open a file holds
// the boot it was opened in; a store found open in another boot is not used.
const openMarker = "OPEN"

func markOpen(dir string) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = []byte("unknown") // no such file here: a crash of the machine goes unnoticed only with --sync interval
	}
	path := filepath.Join(dir, openMarker)
	switch old, err := os.ReadFile(path); {
	case err == nil && strings.TrimSpace(string(old)) != strings.TrimSpace(string(boot)):
		return fmt.Errorf("open store %s: %w", dir, ErrUnclean)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("open store %s: %w", dir, err)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("mark store open: %w", err)
	}
	defer f.Close()
	if _, err := f.Write(boot); err != nil {
		return fmt.Errorf("mark store open: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("mark store open: %w", err)
	}
	return syncDir(dir)
}

func markClosed(dir string) error {
	if err := os.Remove(filepath.Join(dir, openMarker)); err != nil {
		return fmt.Errorf("mark store closed: %w", err)
	}
	return nil
}

// quietLogger passes Badger's warnings and errors on and drops its chatter.
type quietLogger struct{ l *slog.Logger }

func (q quietLogger) log(level slog.Level, format string, args []any) {
	if q.l != nil {
		q.l.Log(context.Background(), level, "badger", "text", strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
func (q quietLogger) Errorf(f string, a ...any)   { q.log(slog.LevelError, f, a) }
func (q quietLogger) Warningf(f string, a ...any) { q.log(slog.LevelWarn, f, a) }
func (q quietLogger) Infof(f string, a ...any)    { q.log(slog.LevelDebug, f, a) }
func (q quietLogger) Debugf(string, ...any)       {}
