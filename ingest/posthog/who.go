package posthog

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// The types of the identifiers that the wire tells.
const (
	userID      = "user_id"
	anonymousID = "anonymous_id"
	deviceID    = "device_id"
)

// cookieless is what browsers send that were told to keep nothing: one name for
// all of them, which PostHog's server replaces.
const cookieless = "$posthog_cookieless"

// decodeWho finds whose event it is.
func (e *event) decodeWho() *ingest.Rejection {
	e.nameCompany()
	id, refused := e.distinctID()
	if refused != nil {
		return refused
	}
	if kind, key := e.group(); e.name == "$groupidentify" && id == "$"+kind+"_"+key {
		// Made up by servers that tell about a group and no person.
		e.given.distinctID.used = true
		if e.typ == eventsv1.Type_TYPE_GROUP_JOINED {
			return nil
		}
		return ingest.Refuse(ingest.CodeMissingID, "distinct_id", "a person, or a group of type "+strings.Join(companyTypes[:], ", "),
			"$groupidentify of the "+kind+" "+ingest.Shown(key)+" names no person, and a group of this type is no company")
	}
	known := !e.anonymous(id)
	typ := anonymousID
	if known {
		typ = userID
	}
	if id == cookieless {
		return ingest.Refuse(ingest.CodeBlockedID, "distinct_id", "the id of one visitor",
			"distinct_id is "+cookieless+", the name of every visitor who keeps no cookies")
	}
	if _, err := directory.Normalise(typ, id); errors.Is(err, directory.ErrBlocked) {
		return ingest.Refuse(ingest.CodeBlockedID, "distinct_id", "", "distinct_id "+ingest.Shown(id)+" names nobody")
	}
	e.event.Identifiers = slices.Insert(e.event.Identifiers, 0, &eventsv1.Identifier{Type: typ, Value: id})
	if e.name == "$identify" {
		e.identifyBy(anonymousID, &e.given.anonDistinctID, id)
	}
	if known {
		e.identifyBy(deviceID, &e.given.deviceID, "")
	} else if device, _ := properties.Text(e.given.deviceID.Value); device == id {
		e.given.deviceID.used = true // told by the distinct id
	}
	return nil
}

// distinctID is who the event says it is of.
func (e *event) distinctID() (string, *ingest.Rejection) {
	for _, v := range [...]jsontree.Value{e.told.distinctID, e.told.distinctID2, e.given.distinctID.Value} {
		id, ok := properties.Text(v)
		if !ok || strings.TrimSpace(id) == "" {
			continue
		}
		if refused := properties.CheckID("distinct_id", id); refused != nil {
			return "", refused
		}
		again, _ := properties.Text(e.given.distinctID.Value)
		e.given.distinctID.used = again == id
		if other, ok := properties.Text(e.told.distinctID2); ok && other != id {
			e.other.Add("$distinct_id", e.told.distinctID2)
		}
		return id, nil
	}
	message := "distinct_id is missing"
	if kind := e.told.distinctID.Kind(); kind > jsontree.Null && kind != jsontree.String {
		message = "distinct_id is " + kind.String() + ", a string or a number wanted"
	}
	return "", ingest.Refuse(ingest.CodeMissingID, "distinct_id", "not empty", message)
}

// anonymous reports whether a distinct id names a visitor and no user. Clients
// tell it in many ways; the surest comes first.
func (e *event) anonymous(id string) bool {
	g := &e.given
	profile := e.told.options.Get("process_person_profile")
	if !profile.Given() {
		profile = g.profile
	}
	user, _ := properties.Text(g.userID)
	device, _ := properties.Text(g.deviceID.Value)
	lib, _ := properties.Text(g.lib.Value)
	switch {
	case e.name == "$identify", user == id:
		return false
	case g.identified.Kind() == jsontree.Bool:
		return !g.identified.True()
	case profile.Kind() == jsontree.Bool && !profile.True():
		return true // an anonymous event, as the clients call it
	case device == id:
		return true // what a browser calls itself until it is told otherwise
	case madeByClient(id):
		return true
	default:
		return onPremises(lib) && isUUID(id)
	}
}

// onPremises reports whether a library runs where the visitor is, so that a
// random id of it is one that it made itself. A server's may be its users'.
func onPremises(lib string) bool {
	switch lib {
	case "web", "posthog-js", "posthog-js-lite", "js", "posthog-react-native", "posthog-ios", "posthog-android", "posthog-flutter":
		return true
	}
	return false
}

// madeByClient reports whether an id has the form that browsers gave
// themselves before they took to UUIDs: five hexadecimal numbers of which the
// first and last are one time.
func madeByClient(id string) bool {
	parts := strings.Split(id, "-")
	if len(parts) != 5 || isUUID(id) || len(parts[0]) < 11 || len(parts[4]) < 11 {
		return false
	}
	return !slices.ContainsFunc(parts, func(p string) bool { return !isHex(p) })
}

func isUUID(id string) bool {
	if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[18] != '-' || id[23] != '-' {
		return false
	}
	return isHex(strings.ReplaceAll(id, "-", "")) && strings.Count(id, "-") == 4
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// identifyBy adds an identifier that a property tells, unless it is the same as
// another or names nobody.
func (e *event) identifyBy(typ string, p *property, same string) {
	id, ok := properties.Text(p.Value)
	if !ok {
		return
	}
	if id == same {
		p.used = true
		return
	}
	if _, err := directory.Normalise(typ, id); err != nil {
		return // then it stays among the properties
	}
	p.used = true
	e.event.Identifiers = append(e.event.Identifiers, &eventsv1.Identifier{Type: typ, Value: id})
}

// identifyFacts makes identifiers of those facts that name a person.
func (e *event) identifyFacts(to *eventsv1.Event, f *eventsv1.Traits) {
	for _, typ := range [...]string{"email", "phone"} {
		for _, s := range [...]*structpb.Struct{f.Set, f.SetOnce} {
			value := factText(s.GetFields()[typ])
			if _, err := directory.Normalise(typ, value); err == nil {
				to.Identifiers = append(to.Identifiers, &eventsv1.Identifier{Type: typ, Value: value})
				break
			}
		}
	}
}

// factText is the text of a fact; a telephone number may come as a number.
func factText(v *structpb.Value) string {
	if n, is := v.GetKind().(*structpb.Value_NumberValue); is {
		return strconv.FormatFloat(n.NumberValue, 'f', -1, 64)
	}
	return v.GetStringValue()
}

// companyTypes are the types of groups that are companies, the surest first.
var companyTypes = [...]string{"company", "organization", "organisation", "org", "account"}

func namesCompany(groupType string) bool {
	return slices.Contains(companyTypes[:], strings.ToLower(groupType))
}

func (e *event) group() (kind, key string) {
	kind, _ = properties.Text(e.given.groupType.Value)
	key, _ = properties.Text(e.given.groupKey.Value)
	return kind, key
}

// nameCompany makes an identifier of the company for which the person acts. A
// $groupidentify about a company names one itself.
func (e *event) nameCompany() {
	if e.typ == eventsv1.Type_TYPE_GROUP_JOINED {
		return
	}
	groups := &e.given.groups
	best := len(companyTypes)
	var company string
	n := 0
	for kind, v := range groups.Members() {
		n++
		rank := slices.Index(companyTypes[:], strings.ToLower(kind))
		id, ok := properties.Text(v)
		if rank < 0 || rank >= best || !ok {
			continue
		}
		if _, err := directory.Normalise(events.CompanyID, id); err == nil {
			best, company = rank, id
		}
	}
	if company != "" {
		e.event.Identifiers = append(e.event.Identifiers, &eventsv1.Identifier{Type: events.CompanyID, Value: company})
		groups.used = n == 1
	}
}

// decodeAlias reads another name of the same person. Nothing says what kind of
// name it is: an id of the form that clients make is a visitor's.
func (e *event) decodeAlias() *ingest.Rejection {
	alias, ok := properties.Text(e.given.alias.Value)
	if !ok || strings.TrimSpace(alias) == "" {
		return ingest.Refuse(ingest.CodeMissingID, "properties.alias", "not empty", e.name+" without alias")
	}
	if refused := properties.CheckID("properties.alias", alias); refused != nil {
		return refused
	}
	own := e.event.Identifiers[0]
	previous := &eventsv1.Identifier{Type: userID, Value: alias}
	switch {
	case alias == own.Value:
		previous.Type = own.Type
	case isUUID(alias) || madeByClient(alias):
		previous.Type = anonymousID
	}
	if previous.Type != own.Type || alias != own.Value {
		e.event.Identifiers = append(e.event.Identifiers, &eventsv1.Identifier{Type: previous.Type, Value: alias})
	}
	e.given.alias.used = true
	e.event.Payload = &eventsv1.Event_Alias{Alias: &eventsv1.Alias{Previous: previous, Force: e.name == "$merge_dangerously"}}
	return nil
}
