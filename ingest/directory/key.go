package directory

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// Key is the identity key of a deployment: whoever has it can test guesses
// against the hashes in the log. It is part of every backup; without it no
// identifier finds its customer again.
type Key [32]byte

// Hash is an identifier as the directory and the log know it: the first 16
// bytes of HMAC-SHA-256 over type, a zero byte and the normalised value.
type Hash [16]byte

// LoadOrCreateKey reads the key file, or makes one of 32 random bytes with
// mode 0600. A crash leaves either no file of that name or a whole one; of two
// processes that create it at once both get the same key.
func LoadOrCreateKey(path string) (Key, error) {
	key, err := loadKey(path)
	if !errors.Is(err, os.ErrNotExist) {
		return key, err
	}
	if err := createKey(path); err != nil {
		return Key{}, fmt.Errorf("create identity key %s: %w", path, err)
	}
	return loadKey(path)
}

func loadKey(path string) (Key, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Key{}, fmt.Errorf("read identity key: %w", err)
	}
	if len(b) != len(Key{}) {
		return Key{}, fmt.Errorf("identity key %s: %d bytes, %d wanted", path, len(b), len(Key{}))
	}
	return Key(b), nil
}

// createKey writes a file beside the final name, syncs it, and gives it the
// name by a link, which fails if the name is taken: then the other's key is
// the key. A crash before the link leaves a stray temporary file.
func createKey(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	var key Key
	rand.Read(key[:]) // never fails
	_, err = f.Write(key[:])
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// KeyCheck is the value by which Genesis recognises the key.
func KeyCheck(key Key) []byte {
	mac := hmac.New(sha256.New, key[:])
	io.WriteString(mac, "dossier identity key check 1")
	return mac.Sum(nil)[:len(Hash{})]
}

// Hash hashes a normalised identifier.
func (k Key) Hash(typ, normal string) Hash { return newHasher(k).hash(typ, normal) }

// hasher hashes many identifiers under one key; a fresh HMAC costs three times
// the hash.
type hasher struct{ pool sync.Pool }

func newHasher(key Key) *hasher {
	h := &hasher{}
	h.pool.New = func() any { return &hashState{mac: hmac.New(sha256.New, key[:])} }
	return h
}

type hashState struct {
	mac hash.Hash
	buf []byte
}

func (h *hasher) hash(typ, normal string) Hash {
	s := h.pool.Get().(*hashState)
	defer h.pool.Put(s)
	s.mac.Reset()
	s.buf = append(append(append(s.buf[:0], typ...), 0), normal...)
	s.mac.Write(s.buf)
	s.buf = s.mac.Sum(s.buf[:0])
	return Hash(s.buf[:len(Hash{})])
}
