package directory_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
)

func TestLoadOrCreateKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "identity.key")
	keys := make([]directory.Key, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = directory.LoadOrCreateKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] || k == (directory.Key{}) {
			t.Fatal("those who create the key at once got different ones, or none")
		}
	}
	again, err := directory.LoadOrCreateKey(path)
	if again != keys[0] || err != nil {
		t.Errorf("loaded another key than was created, %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file %v, %v; want mode 0600", info, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if len(left) != 1 || err != nil {
		t.Errorf("%d files beside the key, %v; want none", len(left)-1, err)
	}
}

func TestLoadOrCreateKeyKeepsWhatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.key")
	for _, content := range []string{"", "short", string(make([]byte, 33))} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := directory.LoadOrCreateKey(path); err == nil {
			t.Errorf("a key of %d bytes was taken", len(content))
		}
		if got, err := os.ReadFile(path); string(got) != content || err != nil {
			t.Errorf("the file was changed to %q, %v", got, err)
		}
	}
}

// TestHashIsForEver: the log holds these bytes.
func TestHashIsForEver(t *testing.T) {
	key := directory.Key{1}
	got := key.Hash("email", "ann@x.org")
	// printf 'email\0ann@x.org' | openssl dgst -sha256 -mac HMAC -macopt hexkey:01000…
	want := directory.Hash{0x4b, 0xd3, 0x8b, 0xd8, 0xca, 0xb7, 0x5f, 0xab, 0x6d, 0x84, 0x9b, 0xf6, 0x6f, 0x6d, 0x86, 0xfb}
	if got != want {
		t.Errorf("got %x, want %x", got, want)
	}
	for _, other := range []directory.Hash{
		key.Hash("emai", "lann@x.org"), key.Hash("email", "bob@x.org"), directory.Key{2}.Hash("email", "ann@x.org"),
	} {
		if other == got {
			t.Errorf("%x is the hash of two identifiers", got)
		}
	}
	if bytes.Equal(directory.KeyCheck(key), directory.KeyCheck(directory.Key{2})) {
		t.Error("two keys have one check value")
	}
}

func TestOpenRefusesAnotherKey(t *testing.T) {
	log := found(t, memlog.Options{})
	_, err := directory.Open(t.Context(), directory.Options{
		Log: log, Key: directory.Key{9},
		OpenStore: func(bool) (store.Store, error) { t.Error("the store was opened"); return store.OpenMemory(), nil },
	})
	if !errors.Is(err, events.ErrIdentityKey) {
		t.Errorf("got %v, want ErrIdentityKey", err)
	}
}
