// Package query answers questions about customers: the service
// dossier.query.v1.QueryService over Connect, gRPC, gRPC-Web and plain JSON on
// one path, and gRPC server reflection.
//
// What it promises:
//
//   - Reads run on a snapshot of the last commit and wait for nothing, except
//     where the caller hands in a receipt: then the answer holds what the
//     receipt acknowledged, or is `unavailable`.
//   - Every answer says how fresh it is ([queryv1.Freshness]).
//   - A partition that is being rebuilt answers `unavailable` with its
//     progress, never with half of what it knew.
//   - A page token goes on below the entry that was shown last, whatever was
//     written in between.
//   - A request field that this version does not know is refused, not ignored:
//     who asks for more than there is must not get less unawares.
//
// Every scan, page and wait has a bound in limits.go. Errors become codes in
// one table, in errors.go.
package query
