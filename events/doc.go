// Package events is the bottom of Dossier: the vocabulary of events, the ids,
// the bytes of the log and the contract of a log.
//
// The vocabulary itself is proto/dossier/events/v1; this package names its
// types ([TypeName], [TypeByName]). What the log holds is
// proto/dossier/log/v1, each message inside a frame ([Seal], [Open]).
//
// A log is a set of streams ([Log]). It has two implementations that pass one
// suite (events/logtest): events/natslog over JetStream, and events/memlog in
// memory with scripted faults. [Found] brings a new log into being.
package events
