package directory

import "sync"

// cache remembers rows of the store. It has two generations: when the younger
// is full it becomes the elder and the elder is dropped; what is asked for
// moves to the younger. So it holds at least the last n rows asked for and at
// most 2n. Safe for concurrent use.
type cache[K comparable, V any] struct {
	n int

	mu           sync.Mutex
	young, elder map[K]V
}

func newCache[K comparable, V any](n int) *cache[K, V] {
	return &cache[K, V]{n: n, young: map[K]V{}}
}

func (c *cache[K, V]) get(k K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.young[k]; ok {
		return v, true
	}
	v, ok := c.elder[k]
	if ok {
		c.putLocked(k, v)
	}
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putLocked(k, v)
}

func (c *cache[K, V]) putLocked(k K, v V) {
	if len(c.young) >= c.n {
		c.young, c.elder = make(map[K]V, c.n), c.young
	}
	c.young[k] = v
}
