package table

import "errors"

func openWorkbook(p part, o Options, progress func(float64)) (rows, error) {
	return nil, errors.New("format xlsx cannot be read yet")
}
