// Package intake is the NATS side of ingest: what a message published to
// dossier.intake.<source> says, and what its publisher is answered. It knows
// nothing of NATS itself; who has a connection hands the messages in and sends
// the replies out.
//
// A reply is what a JetStream server answers a publisher, so that the publish
// calls of every NATS client understand it, and more beside it:
//
//	{"stream":"EVENTS_02","seq":17,"receipt":"AQIR","accepted":2,"duplicates":0,"rejected":[]}
//	{"error":{"code":400,"err_code":10003,"description":"…"},"rejected":[{"index":0,"code":"not_json",…}]}
//	{"error":{"code":429,"err_code":10167,"description":"…"},"retry_after":1}
//
// Rejections for which a message has no room are counted: "rejected_more":1200.
//
// Code 400 is for ever: the bytes are kept among the rejects, and the same
// message would be refused again. 429, 503 and 507 are to be sent again, after
// as many seconds as retry_after and the header Retry-After say. No answer at
// all means unknown: to send again is right, events of one id count once.
package intake
