package table

// Bounds that tests read at and beyond.
const (
	MaxCellBytes         = maxCellBytes
	MaxInflatedFreeBytes = maxInflatedFreeBytes
)
