// Package ingest is the command side: it takes events in and answers when they
// are safe.
//
// A wire (ingest/segment, ingest/native, …) decodes a call into a [Batch] of
// drafts. [Gateway.Accept] validates each draft, resolves whose it is
// (ingest/directory), stamps it with its times, and appends it to the log of
// its customer's partition. What it promises:
//
//   - A bad event never fails its neighbours. It is refused with a [Code] and
//     kept, with its bytes, in REJECTED before the answer.
//   - Accept returns nil only after every accepted event, every refused one
//     and every decision about identity is on stable storage.
//   - After an error nothing is known to be safe, and all may be sent again:
//     repeats are refused exactly, here while they are remembered and by the
//     fold always.
//   - Memory is bounded: beyond the limits callers are told to come again.
//
// Appends are shared. Each partition has one append under way; the events that
// arrive meanwhile make the next record. So one fsync serves many callers, and
// a lone caller does not wait for company.
package ingest
