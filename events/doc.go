// Package events is the bottom of Dossier: the vocabulary of events, the ids,
// the bytes of the log and the contract of a log.
//
// The vocabulary itself is proto/dossier/events/v1; this package names its
// types ([TypeName], [TypeByName]). What the log holds is
// proto/dossier/log/v1, each message inside a frame ([Seal], [Open]) whose
// checksum notices any damage. A frame of format 1 stays readable for ever;
// testdata/record_v1*.golden hold it to that.
//
// A log is a set of streams ([Log]). It has two implementations that pass one
// suite (events/logtest): events/natslog over JetStream, and events/memlog in
// memory with scripted faults. [Found] brings a new log into being or opens
// the one that exists; it may be repeated after a failure at any step, and run
// by several processes at once. What the log was created with is its Genesis,
// and never changes.
//
// Days are those of the deployment's time zone as Genesis holds it ([Zone]):
// a function of the log, not of the zone files of a machine.
//
// Nothing here logs, reads a clock or runs a goroutine of its own.
package events
