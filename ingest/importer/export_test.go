package importer

// WithBounds is o with batches of so many events, that remembers at least so
// many records.
func WithBounds(o Options, batchEvents, seenGeneration int) Options {
	o.batchEvents, o.seenGeneration = batchEvents, seenGeneration
	return o
}
