// Package projections folds the partitions of the log into stores.
//
// A [Partition] is a deterministic function of its stream: the same messages
// give the same facts, journal, positions and outbox, wherever commits fall
// and however often the process dies. What it promises:
//
//   - an event counts once, however often and in whatever order its copies come;
//   - all that a message changes is in the store together with the checkpoint
//     that says so, or none of it is;
//   - a store that does not belong to the log is set aside and folded again;
//   - the work that one message can cause is bounded, and settled time says
//     what is still to be done.
//
// The files in the order of the data's way: partition.go reads messages and
// decides when to commit; fold.go takes a message step by step; timers.go,
// evaluate.go, history.go and refold.go are its parts; overlay.go and
// customer.go hold what is not committed; keys.go draws the store; view.go
// reads it for queries; notices.go writes ticks and relays rules.
package projections
