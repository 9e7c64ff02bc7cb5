// Package importer sends what stands in files to a running Dossier, once.
//
// A mapping (package mapping) makes events of the rows of files (package
// table); a [Source] hands them on, and [Run] brings them to a server: it asks
// what is known of every record (a preview, which records nothing), leaves out
// what is known, and sends the rest, a record that says something else than
// before as a revision of it.
//
// Guarantees:
//
//   - Repeating an import is safe, whatever ended the one before: an importer
//     killed, a server killed, an answer lost. A record is named by source, id and
//     type, so what is known is not sent again, and what was sent unawares is
//     refused by the log as the duplicate it is.
//   - Events are appended in the order of the files. Previews run ahead, several
//     at a time; batches are sent one after the other. So which customer an
//     identifier comes to belong to does not depend on chance, and an import that
//     was interrupted and repeated decides as one that was not.
//   - Memory is bounded: a few batches and the keys of the latest records (see
//     limits.go).
//
// What is told of a row is told in the order of the files too.
package importer
