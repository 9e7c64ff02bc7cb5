// Package segment reads the HTTP tracking API of Segment, which RudderStack's
// clients speak too. "Segment" is only this wire; Dossier's own groups of
// customers are audiences.
//
// [Decode] turns a body into drafts. It never fails a batch for one of its
// items. What the clients were seen to do and this package answers to:
//
//   - The body is JSON whatever the Content-Type says.
//   - sentAt stands in the item, in the batch, or in both: the item's counts.
//   - An explicit timestamp is the claimed time; originalTimestamp, which some
//     clients set to the time of the call even for back-dated events, is used
//     only without one. receivedAt is not believed, only kept.
//   - An alias may name the current user as its own previous id. It joins
//     nothing, and is no error.
//   - Ids come as numbers.
//   - context.groupId names the company of any call but one about a group,
//     which names it in groupId itself.
//   - context.traits tell, with any call, the e-mail address and phone of the
//     user that userId or anonymousId names; alone they name nobody. They are
//     the traits of an identify that has none of its own.
//
// Of our own are two members beside type and messageId: corrects, the messageId
// of the event that this one replaces, and issuedAt, when the correction was
// made. They are no properties, whose names belong to the publisher.
//
// Everything that has no field of its own is kept: of the event in
// properties_json, of the context and of the message around them (integrations,
// channel, version, _metadata, …) in context.other_json. Left out are only the
// write key, sentAt, which a client changes with every attempt, and what stands
// around the items of a batch beside context and integrations.
package segment
