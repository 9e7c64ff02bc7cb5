package identity

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"

	"github.com/dossier360/dossier/query"
)

// pageTokenVersion begins every page token; one that is not ours is refused,
// not guessed at.
const pageTokenVersion = 1

// pageToken goes on after the item with a key, in the list that the request
// fixes. Callers treat it as opaque.
//
//	byte  0     version, 1
//	bytes 1-8   FNV-1a-64 of what the request fixes and of the key, big endian
//	bytes 9-    the key
func pageToken(key []byte, fixed ...string) string {
	token := binary.BigEndian.AppendUint64([]byte{pageTokenVersion}, tokenSum(key, fixed))
	return base64.RawURLEncoding.EncodeToString(append(token, key...))
}

// parsePageToken returns the key of a token, nil of "". The token of another list does not check: its page would silently lack items.
func parsePageToken(token string, fixed ...string) ([]byte, error) {
	if token == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	switch {
	case err != nil || len(b) <= 9 || b[0] != pageTokenVersion:
		err = errors.New("not a token of this version")
	case binary.BigEndian.Uint64(b[1:9]) != tokenSum(b[9:], fixed):
		err = errors.New("it belongs to another list")
	default:
		return b[9:], nil
	}
	return nil, query.Invalid("pageToken: %v; begin again without one", err)
}

func tokenSum(key []byte, fixed []string) uint64 {
	h := fnv.New64a()
	for _, text := range fixed {
		h.Write(binary.AppendUvarint(nil, uint64(len(text))))
		h.Write([]byte(text))
	}
	h.Write(key)
	return h.Sum64()
}

// pageSize is how many items a page holds.
func pageSize(asked uint32) (int, error) {
	switch {
	case asked == 0:
		return query.DefaultPageSize, nil
	case asked > query.MaxPageSize:
		return 0, query.Invalid("pageSize: %d, limit %d", asked, query.MaxPageSize)
	}
	return int(asked), nil
}
