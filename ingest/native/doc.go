// Package native reads Dossier's own wire: the message EventBatch of
// dossier.events.v1, as JSON or as protobuf.
//
// The events of a batch are decoded one by one, in either encoding, so that a
// bad one does not fail its neighbours. JSON follows the protobuf mapping
// (both spellings of a field, 64-bit integers as number or string) and is
// wider where that loses nothing: a time may come in any form of
// properties.ParseTime, a number stands for its text where a text is wanted, a
// key may stand twice. It is stricter in what it tells: every refusal names its
// field.
//
// An event without a typed payload gets one from its properties.
package native
