//go:build !unix

package main

import "errors"

// diskSpace is not known on this system; the log's own errors tell.
func diskSpace(string) (free, total uint64, err error) {
	return 0, 0, errors.ErrUnsupported
}
