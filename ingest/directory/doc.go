// Package directory is identity: it knows which customer an identifier names,
// and decides it for identifiers nobody has named before.
//
// Identifiers are normalised by type ([Normalise]) and kept as keyed hashes
// ([Key.Hash]); neither the directory's store nor the log holds one in clear.
//
// The IDENTITY stream is the truth. It holds decisions, not claims: a replay
// reads what was decided and never decides again. [Directory.Run] folds the
// stream into a store, which is a cache: on any doubt it is set aside and
// folded again from message 1.
//
// A set of identifiers that is known and agrees is resolved locally. Anything
// else becomes decisions, appended on the condition that the stream still ends
// where they were decided at, one append at a time for each gateway; what
// arrives meanwhile goes into the next one. So of two gateways that meet the
// same new identifier one decides and the other reads.
//
// The rules, in order, for one set (see [decide]):
//
//  1. The customers known by any identifier of the set take part, ordered by
//     the strongest identifier that names them, the older first among equals.
//  2. A new exclusive identifier (user_id) goes to the first of them that has
//     none of its type; if none can take it, to a new customer.
//  3. The event goes to the customer named by the strongest identifier. If
//     nobody is known, to a new one.
//  4. Other new identifiers are linked to that customer.
//  5. Of every other customer that takes part: if it and the event's customer
//     hold different exclusive identifiers and the set names it only by
//     anonymous, device or guest ids, these are rebound to the event's
//     customer; else the pair is quarantined, once.
//
// Applying the decisions of a set makes the set known: deciding it again
// decides nothing and gives the same customer.
package directory
