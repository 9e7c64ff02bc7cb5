// Package cloudevents reads CloudEvents 1.0 in the JSON format: one event in a
// body (structured), many (batch), or attributes in headers and the data in the
// body (binary), over HTTP and NATS alike.
//
// # What of it means what
//
// The id of the event is the attribute id, its type the attribute type, by any
// name that [events.TypeByName] knows, its claimed time the attribute time.
// Two extension attributes are Dossier's own: corrects, the id of the event
// that this one replaces, and issuedat, when the correction was made. All other
// attributes but specversion are kept in context.other_json, as one object
// under "cloudevents".
//
// Data that is a JSON object is either properties, whose names are the
// publisher's own (see package properties), or an event of dossier.events.v1
// without what the attributes tell; it is the latter if it holds nothing but
// fields of one, among them the payload of its type, properties or
// properties_json. Data of the type application/protobuf is that message too.
// All other data is kept whole: as property "data", or "data_base64" if it is
// no text.
//
// # Whose event it is
//
// A subject "<identifier type>:<value>" names the customer, and so do members
// of the data: identifiers (as in dossier.events.v1), userId, customerId,
// anonymousId, deviceId, companyId, groupId, email and phone, in either
// spelling. Where the data has no identifiers, userId or customerId, a plain
// subject is a user id, or an e-mail address. A path, or a word of another meaning before a colon, names no
// customer: subjects of CloudEvents are often orders, files or devices.
//
// # Source
//
// An event is unique by source and id, so a draft has a source of its own: the
// attribute, made a word by [Source].
//
// # Original bytes
//
// A draft's original is its structured form in every mode; [DecodeItem] reads
// it again.
package cloudevents
