package cloudevents

import (
	"errors"
	"strings"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// naming are the members of data by which publishers say whose an event is,
// folded, and the type of identifier that each holds.
var naming = map[string]string{
	"userid": "user_id", "customerid": "customer_id", "anonymousid": "anonymous_id", "deviceid": "device_id",
	"companyid": events.CompanyID, "groupid": events.CompanyID, "email": "email", "phone": "phone",
}

// nobodyLimit is what the refusal of an event that names nobody asks for.
const nobodyLimit = "subject <identifier type>:<value>, or userId, email, … in data"

func fold(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// identify finds whose event it is; data is its JSON object, or nothing. The
// members that are of no other use than this go to e.named.
func (e *event) identify(data jsontree.Value) {
	subject, _ := properties.Text(e.told.subject)
	known, plain := parseSubject(subject)
	if known != nil && !plain {
		e.add(known.Type, known.Value)
	}
	for key, v := range data.Members() {
		if fold(key) == "identifiers" {
			e.addAll(key, v)
		} else {
			e.addMember(key, v)
		}
	}
	if plain && !e.surely {
		e.add(known.Type, known.Value)
	}
}

// parseSubject reads a subject that names a customer, nil of any other. Plain
// says that it does not tell the type of identifier.
func parseSubject(subject string) (id *eventsv1.Identifier, plain bool) {
	if strings.TrimSpace(subject) == "" {
		return nil, false
	}
	if typ, value, ok := strings.Cut(subject, ":"); ok && properties.ValidIdentifierType(typ) {
		if _, err := directory.Normalise(typ, value); errors.Is(err, directory.ErrType) {
			return nil, false // order:17
		}
		return &eventsv1.Identifier{Type: typ, Value: value}, false
	}
	if strings.Contains(subject, "/") {
		return nil, false
	}
	if _, err := directory.Normalise("email", subject); err == nil {
		return &eventsv1.Identifier{Type: "email", Value: subject}, true
	}
	return &eventsv1.Identifier{Type: "user_id", Value: subject}, true
}

// addAll takes a list of identifiers as dossier.events.v1 has it. Any other list
// is the publisher's own property.
func (e *event) addAll(key string, list jsontree.Value) {
	if list.Kind() != jsontree.Array {
		return
	}
	for item := range list.Items() {
		if item.Kind() != jsontree.Object {
			return
		}
		if _, ok := properties.ParseIdentifier(item); !ok {
			return
		}
	}
	for item := range list.Items() {
		id, _ := properties.ParseIdentifier(item)
		e.add(id.Type, id.Value)
	}
	e.named[key], e.surely = true, true
}

// addMember takes a member of data that names somebody. Addresses and numbers
// remain properties too, for they are facts as well; those beside a referral are
// as often the other party's.
func (e *event) addMember(key string, v jsontree.Value) {
	typ, ok := naming[fold(key)]
	value, isText := properties.Text(v)
	if !ok || !isText || strings.TrimSpace(value) == "" {
		return
	}
	if typ != "email" && typ != "phone" {
		e.add(typ, value)
		// Of an event about a group, the company is the payload's too.
		e.named[key] = typ != events.CompanyID || properties.Payload(e.kind) != "group"
		e.surely = e.surely || typ == "user_id" || typ == "customer_id"
		return
	}
	if properties.Payload(e.kind) == "referral" {
		return
	}
	if _, err := directory.Normalise(typ, value); err == nil {
		e.add(typ, value)
	}
}

// add adds an identifier once.
func (e *event) add(typ, value string) {
	for _, id := range e.identifiers {
		if id.Type == typ && id.Value == value {
			return
		}
	}
	e.identifiers = append(e.identifiers, &eventsv1.Identifier{Type: typ, Value: value})
}

func (e *event) refuseNobody() *ingest.Rejection {
	message := "the event has no subject and its data names nobody"
	if subject, ok := properties.Text(e.told.subject); ok {
		message = "subject is " + ingest.Shown(subject) + ", which names no customer, and neither does the data"
	}
	return ingest.Refuse(ingest.CodeMissingID, "subject", nobodyLimit, message+": "+nobodyLimit+" wanted")
}
