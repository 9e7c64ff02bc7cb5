package ingest

// PendingBytes is how many bytes wait in a partition.
func (g *Gateway) PendingBytes(partition int) int {
	b := g.batchers[partition]
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// MaxHolders bounds the customers remembered of one event.
const MaxHolders = maxHolders
