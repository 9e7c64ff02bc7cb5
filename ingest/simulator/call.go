package simulator

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/native"
	"github.com/dossier360/dossier/ingest/segment"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

const (
	pathSegment = "/v1/batch"
	pathNative  = "/v1/events"

	typeJSON     = "application/json"
	typeProtobuf = "application/protobuf"
)

// Call is one call of the ingest side.
type Call struct {
	Path        string
	ContentType string
	Body        []byte
	Events      int
}

// check says what is wrong with the parameters of a play.
func check(end time.Time, customers, days, cohort int) error {
	switch {
	case end.Year() < 1980 || end.Year() > 9000:
		return fmt.Errorf("end %s: a year from 1980 to 9000 wanted", end.Format(time.RFC3339))
	case customers < 1 || customers > maxCustomers:
		return fmt.Errorf("customers %d: 1 to %d wanted", customers, maxCustomers)
	case days != 0 && (days < minDays || days > maxDays):
		return fmt.Errorf("days %d: %d to %d wanted", days, minDays, maxDays)
	case cohort < 0:
		return fmt.Errorf("cohort %d: 1 or more wanted", cohort)
	}
	return nil
}

func jsonCall(path string, events int, body any) Call {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic("not reached: a play is made of texts and finite numbers: " + err.Error())
	}
	return Call{Path: path, ContentType: typeJSON, Body: encoded, Events: events}
}

// protobufCall is a batch as bytes that are the same in every run.
func protobufCall(batch *eventsv1.EventBatch) Call {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(batch)
	if err != nil {
		panic("not reached: a play is made of UTF-8: " + err.Error())
	}
	return Call{Path: pathNative, ContentType: typeProtobuf, Body: encoded, Events: len(batch.GetEvents())}
}

// decode reads a call of one's own as the gateway does.
func (c Call) decode() *eventsv1.EventBatch {
	decoded := ingest.Decoded{}
	switch {
	case c.Path == pathSegment:
		decoded = segment.Decode(segment.Batch, c.Body)
	case c.ContentType == typeJSON:
		decoded = native.DecodeJSON(c.Body)
	default:
		decoded = native.DecodeProtobuf(c.Body)
	}
	if decoded.Refused != nil {
		panic("not reached: the simulator makes calls that can be read: " + decoded.Refused.Message)
	}
	batch := &eventsv1.EventBatch{Source: decoded.Source}
	for _, d := range decoded.Drafts {
		if d.Refused != nil {
			panic("not reached: the simulator makes events that are taken: " + d.Refused.Message)
		}
		batch.Events = append(batch.Events, d.Event)
	}
	return batch
}
