// Package posthog reads the capture API of PostHog: what its clients for
// browsers, phones and servers send of events.
//
// [Decode] turns a body, which is JSON by now, into drafts. What the clients
// were seen to do, and what is made of it:
//
//   - A call brings one event, a list of them, or {"batch": […]}. The write key
//     is api_key or token beside the events, or token in their properties.
//   - distinct_id names a user once the client knows him, and a browser before.
//     Which of the two is decided by what the event tells (see [anonymous]),
//     for a user id is exclusive: a visitor taken for a user could never be
//     joined to him. $identify tells both, and joins them.
//   - $device_id names the device of a known user. Of an unknown visitor it
//     names nobody: after a logout it stays, and he may be somebody else.
//   - $set, $set_once and $unset stand with any event, beside it or in its
//     properties. They are facts of their own: where the event is not about
//     them anyway, as $identify and $set are, a second draft of the same id and
//     of type traits.set tells them. It stands behind the drafts of all events,
//     so that an event and its draft have one index.
//   - The groups of an event that are called company, organization or account
//     name a company.
//   - utm_source and its kin stay with a visitor for ever. They are the campaign
//     of an event only where its own address has them, or its session began
//     with them, or it has no address.
//   - timestamp is the claimed time, else $time of the properties. Browsers send
//     neither, but an offset: how long ago it was. From a call that they send
//     again it tells another time, so that it is no claim of one.
//
// Everything without a field of its own is kept: properties in properties_json,
// members of the event around them in context.other_json. Left out are only the
// write key, sent_at and what stands around the events of a batch.
package posthog
