package query

import (
	"encoding/base64"
	"encoding/binary"

	"google.golang.org/protobuf/proto"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// cursorTokenVersion begins every cursor, as pageTokenVersion every page token.
const cursorTokenVersion = 1

// timelineToken goes on below the entry `last` of the timeline that req asks
// for, whose order key is the key of the token.
func timelineToken(req *queryv1.GetTimelineRequest, last *statev1.Stamp) (string, error) {
	key, err := proto.MarshalOptions{Deterministic: true}.Marshal(last)
	return PageToken(key, "timeline", timelineFixed(req)), err
}

// parseTimelineToken returns the order key to go on below; nil: from the newest.
func parseTimelineToken(req *queryv1.GetTimelineRequest) (*statev1.Stamp, error) {
	key, err := ParsePageToken(req.GetPageToken(), "timeline", timelineFixed(req))
	if key == nil || err != nil {
		return nil, err
	}
	last := &statev1.Stamp{}
	if err := proto.Unmarshal(key, last); err != nil {
		return nil, badToken(errBadToken)
	}
	return last, nil
}

// timelineFixed is what must stay the same from page to page.
func timelineFixed(req *queryv1.GetTimelineRequest) string {
	fixed := &queryv1.GetTimelineRequest{Customer: req.GetCustomer(), Types: req.GetTypes(), From: req.GetFrom(), To: req.GetTo()}
	// A message of strings and instants always marshals; its bytes only need
	// to be the same in this build for a token to be worth keeping.
	b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(fixed)
	return string(b)
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
