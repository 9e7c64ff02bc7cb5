// Package identity answers who is who, for people: the service
// dossier.query.v1.IdentityService over Connect, gRPC, gRPC-Web and plain JSON.
//
// What it promises:
//
//   - Every change is an order to the directory, with a reason and who gave it,
//     and is done when it is answered, as far as decisions go: the events move
//     afterwards, which the receipt of the answer waits for.
//   - A dry run decides as the change would, appends nothing, and folds the
//     histories on paper: the digests that it shows are those that the change
//     comes to, if nothing is told in between.
//   - Identifiers are shown in clear as far as the customers were told by them:
//     the directory holds hashes.
//   - Everything wants a read key, and a change a write key beside it.
//
// It keeps nothing of its own.
package identity
