package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/projections/store"
)

// both runs a test on each implementation; reopen closes and opens again.
func both(t *testing.T, test func(t *testing.T, s store.Store, reopen func() store.Store)) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		m := store.OpenMemory()
		test(t, m, func() store.Store {
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			m.Reopen()
			return m
		})
	})
	for _, sync := range []bool{true, false} {
		t.Run(fmt.Sprintf("badger/sync=%v", sync), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "store")
			open := func() store.Store {
				s, err := store.OpenBadger(dir, store.Options{Sync: sync})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := open()
			t.Cleanup(func() { s.Close() })
			test(t, s, func() store.Store {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open()
				return s
			})
		})
	}
}

func commit(t *testing.T, s store.Store, puts map[string]string, deletes ...string) {
	t.Helper()
	b := &store.Batch{}
	for k, v := range puts {
		b.Put([]byte(k), []byte(v))
	}
	for _, k := range deletes {
		b.Delete([]byte(k))
	}
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
}

func contents(t testing.TB, v store.View) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := v.Scan(nil, nil, false, func(k, value []byte) bool { all[string(k)] = string(value); return true })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestViewIsOneCommit(t *testing.T) {
	both(t, func(t *testing.T, s store.Store, reopen func() store.Store) {
		commit(t, s, map[string]string{"a": "1", "b": "1", "empty": ""})
		before := s.View()
		commit(t, s, map[string]string{"a": "2", "c": "2"}, "b", "never there")
		if got, want := contents(t, before), map[string]string{"a": "1", "b": "1", "empty": ""}; !maps.Equal(got, want) {
			t.Errorf("a view opened before the commit shows %v, want %v", got, want)
		}
		if value, err := before.Get([]byte("b")); err != nil || string(value) != "1" {
			t.Errorf("get b: %q, %v", value, err)
		}
		if value, err := before.Get([]byte("empty")); err != nil || value == nil {
			t.Errorf("an empty value is read as none (%v)", err)
		}
		if value, err := before.Get([]byte("c")); err != nil || value != nil {
			t.Errorf("get c: %q, %v", value, err)
		}
		before.Close()
		s = reopen()
		after := s.View()
		defer after.Close()
		if got, want := contents(t, after), map[string]string{"a": "2", "c": "2", "empty": ""}; !maps.Equal(got, want) {
			t.Errorf("after a restart: %v, want %v", got, want)
		}
	})
}

// Random batches against a plain map, scans from any bound in both directions,
// with restarts.
func TestStoreAgainstMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "store-law-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		badger, err := store.OpenBadger(dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { badger.Close() }()
		stores := []store.Store{store.OpenMemory(), badger}
		model := map[string]string{}
		key := rapid.StringMatching(`[a-c]{1,3}`)
		for range rapid.IntRange(1, 8).Draw(t, "commits") {
			puts := rapid.MapOf(key, rapid.StringMatching(`[x-z]{0,4}`)).Draw(t, "puts")
			deletes := rapid.SliceOf(key).Draw(t, "deletes")
			for _, s := range stores {
				b := &store.Batch{}
				for k, v := range puts {
					b.Put([]byte(k), []byte(v))
				}
				for _, k := range deletes {
					b.Delete([]byte(k))
				}
				if err := s.Commit(b); err != nil {
					t.Fatal(err)
				}
			}
			maps.Copy(model, puts)
			for _, k := range deletes {
				delete(model, k)
			}
			from, to, reverse := key.Draw(t, "from"), key.Draw(t, "to"), rapid.Bool().Draw(t, "reverse")
			want := []string{}
			for _, k := range slices.Sorted(maps.Keys(model)) {
				if k >= from && k < to {
					want = append(want, k+"="+model[k])
				}
			}
			if reverse {
				slices.Reverse(want)
			}
			for _, s := range stores {
				v := s.View()
				got := []string{}
				err := v.Scan([]byte(from), []byte(to), reverse, func(k, value []byte) bool {
					got = append(got, string(k)+"="+string(value))
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%T scan [%s, %s) reverse %v (-want +got):\n%s", s, from, to, reverse, diff)
				}
				v.Close()
			}
		}
	})
}

func TestScanStops(t *testing.T) {
	both(t, func(t *testing.T, s store.Store, _ func() store.Store) {
		commit(t, s, map[string]string{"a": "", "b": "", "c": ""})
		v := s.View()
		defer v.Close()
		seen := 0
		if err := v.Scan([]byte("a"), nil, false, func(_, _ []byte) bool { seen++; return seen < 2 }); err != nil || seen != 2 {
			t.Errorf("saw %d keys, want 2 (%v)", seen, err)
		}
	})
}

func TestBatchTooBig(t *testing.T) {
	both(t, func(t *testing.T, s store.Store, _ func() store.Store) {
		b := &store.Batch{}
		for i := range 16 {
			b.Put([]byte{byte(i)}, make([]byte, 512<<10))
		}
		if err := s.Commit(b); !errors.Is(err, store.ErrBatchTooBig) {
			t.Errorf("8 MiB in one batch: %v, want ErrBatchTooBig", err)
		}
		v := s.View()
		defer v.Close()
		if got := contents(t, v); len(got) != 0 {
			t.Errorf("a refused batch left %d keys", len(got))
		}
	})
}

// A batch at the documented bound is taken.
func TestBatchAtBound(t *testing.T) {
	both(t, func(t *testing.T, s store.Store, _ func() store.Store) {
		b := &store.Batch{}
		for i := 0; b.Bytes() < store.MaxBatchBytes-(256<<10)-2; i++ {
			b.Put([]byte{byte(i)}, bytes.Repeat([]byte{byte(i)}, 256<<10))
		}
		if err := s.Commit(b); err != nil {
			t.Errorf("%d bytes: %v", b.Bytes(), err)
		}
	})
}

// A large value reads as it was put, by Get and by Scan, after it shrank and
// grew too, and leaves nothing in a value log.
func TestLargeValues(t *testing.T) {
	both(t, func(t *testing.T, s store.Store, reopen func() store.Store) {
		for i, size := range []int{512 << 10, 512<<10 + 1, 3 << 20, 10, 1<<20 + 5, 3 << 20} {
			value := string(bytes.Repeat([]byte{byte('a' + i)}, size))
			commit(t, s, map[string]string{"a": "before", "large": value, "m": "behind"})
			if i%2 == 1 {
				s = reopen()
			}
			v := s.View()
			got, err := v.Get([]byte("large"))
			if err != nil || string(got) != value {
				t.Errorf("%d bytes: got %d bytes, %v", size, len(got), err)
			}
			if all := contents(t, v); len(all) != 3 || all["large"] != value || all["m"] != "behind" {
				t.Errorf("%d bytes: scanned %d keys, large of %d bytes", size, len(all), len(all["large"]))
			}
			v.Close()
		}
	})
}

func TestNoValueLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := store.OpenBadger(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		commit(t, s, map[string]string{"large": string(bytes.Repeat([]byte{byte(i)}, 3<<20))})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range logs {
		if info, err := os.Stat(name); err != nil || info.Size() > 1<<20 {
			t.Errorf("%s holds %d bytes (%v)", filepath.Base(name), info.Size(), err)
		}
	}
}

func TestMemoryFaults(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, stored := range []bool{false, true} {
		m := store.OpenMemory()
		m.Fault = func(n int) (bool, error) {
			if n == 2 {
				return stored, broken
			}
			return true, nil
		}
		commit(t, m, map[string]string{"a": "1"})
		b := &store.Batch{}
		b.Put([]byte("a"), []byte("2"))
		if err := m.Commit(b); !errors.Is(err, broken) {
			t.Errorf("commit: %v", err)
		}
		if err := m.Commit(b); !errors.Is(err, store.ErrClosed) {
			t.Errorf("commit after the fault: %v, want ErrClosed", err)
		}
		m.Reopen()
		want := map[bool]string{false: "1", true: "2"}[stored]
		v := m.View()
		if got := contents(t, v)["a"]; got != want {
			t.Errorf("stored %v: a = %s, want %s", stored, got, want)
		}
		v.Close()
	}
}

// A store without synced writes that was open when the machine went down is
// not used again; one that only the process left is.
func TestUncleanStore(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/sys/kernel/random/boot_id"); err != nil {
		t.Skipf("the boot is not known here: %v", err)
	}
	dir := t.TempDir()
	s, err := store.OpenBadger(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "OPEN")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a closed store is marked open: %v", err)
	}
	for boot, want := range map[string]error{"another boot\n": store.ErrUnclean, thisBoot(t): nil} {
		if err := os.WriteFile(filepath.Join(dir, "OPEN"), []byte(boot), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := store.OpenBadger(dir, store.Options{})
		if !errors.Is(err, want) {
			t.Errorf("open marked in boot %q: %v, want %v", boot, err, want)
		}
		if err == nil {
			s.Close()
		}
	}
}

func thisBoot(t *testing.T) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return string(boot)
}

// Damage is an error at opening or reading, never other bytes.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := store.OpenBadger(dir, store.Options{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		commit(t, s, map[string]string{fmt.Sprintf("key %04d", i): string(bytes.Repeat([]byte{byte(i)}, 100))})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables in %s: %v", dir, err)
	}
	data, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/3] ^= 0x40
	if err := os.WriteFile(tables[0], data, 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err = store.OpenBadger(dir, store.Options{Sync: true}); err != nil {
		return // noticed at once
	}
	defer s.Close()
	v := s.View()
	defer v.Close()
	err = v.Scan(nil, nil, false, func(k, value []byte) bool {
		var i int
		fmt.Sscanf(string(k), "key %d", &i)
		if !bytes.Equal(value, bytes.Repeat([]byte{byte(i)}, 100)) {
			t.Errorf("%s reads as other bytes", k)
		}
		return true
	})
	if err == nil {
		t.Errorf("a damaged table was read without an error: %d of 2,000 keys", len(contents(t, v)))
	}
}

func TestSetAside(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "00")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if aside, err := store.SetAside(dir, now); err != nil || aside != "" {
		t.Errorf("nothing there: %q, %v", aside, err)
	}
	seen := map[string]bool{}
	for range 2 {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		aside, err := store.SetAside(dir, now)
		if err != nil || seen[aside] {
			t.Errorf("set aside as %q, %v", aside, err)
		}
		seen[aside] = true
		if _, err := os.Stat(aside); err != nil {
			t.Error(err)
		}
	}
}

func TestPrefixEnd(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string][]byte{"a": []byte("b"), "a\xff": []byte("b"), "\xff\xff": nil, "": nil} {
		if got := store.PrefixEnd([]byte(prefix)); !bytes.Equal(got, want) {
			t.Errorf("end of %q: %q, want %q", prefix, got, want)
		}
	}
}
