package query

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"
)

// PageSize is how many rows a page of a list holds.
func PageSize(asked uint32) (int, error) {
	switch {
	case asked == 0:
		return DefaultPageSize, nil
	case asked > MaxPageSize:
		return 0, refuse(errInvalid, "pageSize: %d, limit %d", asked, MaxPageSize)
	}
	return int(asked), nil
}

// Tokens are base64url of a version byte and what follows it. Callers treat
// them as opaque; a version that is not ours is refused, not guessed at.
const pageTokenVersion = 1

var errBadToken = errors.New("not a token of this version")

// PageToken goes on behind the row with a key, in a list of which `fixed` is all
// that must stay the same from page to page: its name first, then what the
// request says of it. The page size may change.
//
//	byte  0     version, 1
//	bytes 1-8   FNV-1a-64 of what is fixed and of the key, big endian
//	bytes 9-    the key
func PageToken(key []byte, fixed ...string) string {
	token := binary.BigEndian.AppendUint64([]byte{pageTokenVersion}, tokenSum(key, fixed))
	return base64.RawURLEncoding.EncodeToString(append(token, key...))
}

// ParsePageToken returns the key of a token, nil of "". The token of another
// list does not check: its page would silently lack rows.
func ParsePageToken(token string, fixed ...string) ([]byte, error) {
	if token == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) <= 9 || b[0] != pageTokenVersion {
		return nil, badToken(errBadToken)
	}
	if binary.BigEndian.Uint64(b[1:9]) != tokenSum(b[9:], fixed) {
		return nil, badToken(errors.New("it belongs to another list or filter"))
	}
	return b[9:], nil
}

func badToken(err error) error {
	return refuse(errInvalid, "pageToken: %v; begin again without one", err)
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
