// Package simulator plays made-up lives that are told to the engine: of a
// [Shop], whose customers are people, and of a [Firm], whose customers are
// companies with several people each; and [Traffic], which is no
// life but load.
//
// A play is a pure function of its parameters: the same seed gives the same
// bytes, on any machine. It comes as calls for HTTP, as batches of native events
// for NATS, and, of a firm, as files as its systems would export them
// ([Firm.Export]). It streams: a million customers take no more memory than a
// cohort of them.
//
//	shop := simulator.Shop{Seed: 1, End: end, Customers: 200}
//	for call := range shop.Calls(400) {
//		post(call.Path, call.ContentType, call.Body)
//	}
//
// What exists in either life is listed in docs/SIMULATOR.md.
package simulator
