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
// The rules, in order, for one set (see [decide]); the limit of a type is how
// many of it one customer has, and a type of limit 1 is exclusive (user_id):
//
//  1. The customers known by any identifier of the set take part, ordered by
//     the strongest identifier that names them, the older first among equals.
//     An identifier that was blocked names nobody; a set of nothing else is
//     nobody's.
//  2. One whom the set names by anonymous, device or guest ids alone, and who
//     has another value of a type that the set tells, is somebody else: these
//     are rebound to the event's customer. So a device that people use in turn
//     joins no two of them.
//  3. A new exclusive identifier goes to the first of them that has none of its
//     type; if none can take it, to a new customer. Another new one goes to the
//     event's customer, or, beyond the limit of its type, to a new customer.
//  4. The event goes to the customer named by the strongest identifier. If
//     nobody is known, to a new one.
//  5. Every other customer that takes part is merged with the event's, unless
//     both have one of an exclusive type, or together more of a type than its
//     limit, or they are kept apart, or in quarantine already. Then the pair is
//     quarantined, once; or, if it is for what they have and the set names the
//     other by anonymous, device or guest ids alone, these are rebound to the
//     event's customer. A set that is forced asks only whether they are kept
//     apart.
//
// Applying the decisions of a set makes the set known: deciding it again
// decides nothing and gives the same customer.
//
// A merge is a rule message of its own, so what else a set needs goes before it,
// and the set is decided anew after each. Who has more identifiers stays, of
// equal ones the older. An identifier keeps its origin, the customer under whom
// it was told first (a linked one that of who vouched), and who was merged into
// whom is a link from one customer to the other: so a merge changes a few rows,
// however much the two have, and undoing it gives the loser back what came with
// him and what was vouched for by it since. The two sides of a split are kept
// apart, and the new side from whomever the whole was kept apart from. What is
// known of two customers is kept under the ids they had then, and holds of whom
// they have become.
//
// People merge, undo, take identifiers out, link, keep apart, block and resolve
// conflicts by orders ([Directory.Merge] and the like). An order is decided like
// a set, by compare and append, and on paper in a dry run.
package directory
