package table

// Bounds of what is read. A row beyond them is refused and the reader goes
// on; an archive beyond them is not read on.
const (
	maxRowBytes  = 1 << 20
	maxCellBytes = 256 << 10
	maxColumns   = 1000

	// An archive may unpack to 64 MiB whatever its size, and beyond that to
	// 250 times its size: exports of tables reach 50, deflate's worst is 1,032.
	maxInflatedFreeBytes = 64 << 20
	maxInflatedRatio     = 250

	// A zip archive may hold so many files; each is opened in turn.
	maxZipFiles = 10_000

	// A workbook is held in memory as packed, and so are the texts that its
	// cells share; its sheets are streamed.
	maxWorkbookBytes         = 256 << 20
	maxWorkbookUnpackedBytes = 4 << 30
	maxSharedTextBytes       = 512 << 20

	// A row error shows so much of the value it is about.
	maxShownRunes = 80
)
