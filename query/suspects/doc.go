// Package suspects proposes pairs of customers that are probably the same
// although no identifier says so. It joins nobody: a person looks at a pair,
// and merges the two or says that they are not the same.
//
// [Find] is the engine, a function of what is known of the customers:
//
//	facts ──► records ──► population ──► blocks ──► scores ──► ranking
//
// Names, addresses, birth dates, declared numbers, phones and e-mail addresses
// become [Facts], whatever their traits are called ([Names]), and records of
// folded text, some 200 bytes a customer. The population says how common each
// value is: to share the name smith says less than to share zylstra. Records
// that agree on one of several keys stand in a block, and only those are
// compared. A block of more than [MaxBlock] records is passed through with a
// window, so the work grows with the number of customers, not with its square.
//
// The score is a sum that can be read: every field that both have adds the
// logarithm of how much likelier it is of the same one than of two strangers
// (Fellegi and Sunter), and the size of the population is taken off. Score is
// the probability that this comes to, from 0 to 1.
//
// [Service] reads the facts from the rows of all partitions, keeps the ranking
// that it computed last, and pages through it.
package suspects
