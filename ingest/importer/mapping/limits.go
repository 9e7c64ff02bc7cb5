package mapping

// Bounds of what a mapping may be and of what a mapper holds.
const (
	// MaxBytes is how long a mapping file may be.
	MaxBytes = 1 << 20
	// MaxHeldBytes is how much of the rows a mapper holds for groups that are
	// not whole yet and for telling identical rows apart, and an index of the
	// rows of its file, by a careful estimate.
	MaxHeldBytes = 1 << 30
	// MaxExpression is how many characters an expression may have.
	MaxExpression = 10_000
	// MaxSteps is how many operations the expressions of one event may take.
	MaxSteps = 5_000_000

	maxErrors    = 50
	maxYAMLDepth = 40
	maxYAMLNodes = 50_000
	maxCELDepth  = 100
	maxText      = 1 << 20 // characters that expressions join
	maxPatterns  = 100     // compiled ones that are kept
)
