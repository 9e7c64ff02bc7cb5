package directory

import "sync"

// cache remembers identifiers that the store holds. It has two generations:
// when the younger is full it becomes the elder and the elder is dropped; what
// is asked for moves to the younger. So it holds at least the last n
// identifiers asked for and at most 2n. Safe for concurrent use.
type cache struct {
	n int

	mu           sync.Mutex
	young, elder map[Hash]binding
}

func newCache(n int) *cache { return &cache{n: n, young: map[Hash]binding{}} }

func (c *cache) get(h Hash) (binding, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b, ok := c.young[h]; ok {
		return b, true
	}
	b, ok := c.elder[h]
	if ok {
		c.putLocked(h, b)
	}
	return b, ok
}

func (c *cache) put(h Hash, b binding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putLocked(h, b)
}

func (c *cache) putLocked(h Hash, b binding) {
	if len(c.young) >= c.n {
		c.young, c.elder = make(map[Hash]binding, c.n), c.young
	}
	c.young[h] = b
}
