package query

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"

	"google.golang.org/protobuf/proto"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Tokens are base64url of a version byte and what follows it. Callers treat
// them as opaque; a version that is not ours is refused, not guessed at.
const (
	pageTokenVersion   = 1
	cursorTokenVersion = 1
)

var errBadToken = errors.New("not a token of this version")

// pageToken goes on below the entry `last` of the timeline that req asks for.
//
//	byte  0     version, 1
//	bytes 1-8   FNV-1a-64 of the request and of what follows, big endian
//	bytes 9-    order key of the entry shown last: a statev1.Stamp
func pageToken(req *queryv1.GetTimelineRequest, last *statev1.Stamp) (string, error) {
	key, err := proto.MarshalOptions{Deterministic: true}.Marshal(last)
	if err != nil {
		return "", err
	}
	token := binary.BigEndian.AppendUint64([]byte{pageTokenVersion}, tokenSum(req, key))
	return base64.RawURLEncoding.EncodeToString(append(token, key...)), nil
}

// parsePageToken returns the order key to go on below. The token of another
// customer or filter does not check: its page would silently lack entries.
func parsePageToken(req *queryv1.GetTimelineRequest) (*statev1.Stamp, error) {
	token, err := base64.RawURLEncoding.DecodeString(req.GetPageToken())
	if err != nil || len(token) < 9 || token[0] != pageTokenVersion {
		return nil, errBadToken
	}
	key := token[9:]
	if binary.BigEndian.Uint64(token[1:9]) != tokenSum(req, key) {
		return nil, errors.New("it belongs to another customer or filter")
	}
	last := &statev1.Stamp{}
	if err := proto.Unmarshal(key, last); err != nil {
		return nil, errBadToken
	}
	return last, nil
}

// tokenSum covers what must stay the same from page to page. The page size
// may change.
func tokenSum(req *queryv1.GetTimelineRequest, key []byte) uint64 {
	fixed := &queryv1.GetTimelineRequest{Customer: req.GetCustomer(), Types: req.GetTypes(), From: req.GetFrom(), To: req.GetTo()}
	h := fnv.New64a()
	// A message of strings and instants always marshals; its bytes only need
	// to be the same in this build for a token to be worth keeping.
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(fixed)
	h.Write(b)
	h.Write(key)
	return h.Sum64()
}

// mark is the first place in a partition that a snapshot does not hold.
type mark struct {
	epoch uint32
	seq   uint64
	k     uint32
}

// markOf reads a snapshot's checkpoint: a message folded to its end is left
// for the next one, else the fold goes on at unit k of the same message.
func markOf(c *statev1.Checkpoint) mark {
	if c.GetPlace() == nil {
		return mark{epoch: c.GetEpoch(), seq: c.GetSeq() + 1}
	}
	return mark{epoch: c.GetEpoch(), seq: c.GetSeq(), k: c.GetPlace().GetK()}
}

// cursorToken is the joint place of all partitions: a follower of changes that
// begins at it misses nothing and repeats nothing of what the answer held.
//
//	byte  0    version, 1
//	varints    number of partitions, then of each: epoch, seq, k of the first
//	           position that the answer does not hold
func cursorToken(marks []mark) string {
	b := binary.AppendUvarint([]byte{cursorTokenVersion}, uint64(len(marks)))
	for _, m := range marks {
		b = binary.AppendUvarint(b, uint64(m.epoch))
		b = binary.AppendUvarint(b, m.seq)
		b = binary.AppendUvarint(b, uint64(m.k))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
