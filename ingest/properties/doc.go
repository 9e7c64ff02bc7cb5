// Package properties turns what publishers call properties into the typed
// payload of an event.
//
// [Map] knows the property names of the Segment e-commerce specification in
// both its versions, and those of our own types. Spellings do not matter:
// order_id, orderId and OrderID are one name. What has no field stays in
// properties_json as canonical JSON, and so does what a field cannot hold
// exactly: a value of the wrong JSON type, an empty string, an amount with
// more than six digits after the point, the second of two spellings. Nothing a
// client sends is dropped.
//
// Amounts and quantities are read from their decimal digits ([ParseMicros]),
// never through a binary fraction.
//
// [Check] holds the rules that a typed payload must keep whichever wire it came
// on: the limits of amounts, the sign of an order, and what is kept and
// flagged.
package properties
