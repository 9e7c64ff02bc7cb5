//go:build !unix

package main

import (
	"errors"
	"io/fs"
)

// diskSpace is not known on this system; the log's own errors tell.
func diskSpace(string) (free, total uint64, err error) {
	return 0, 0, errors.ErrUnsupported
}

// allocated is what a file takes on the disk, holes and all.
func allocated(info fs.FileInfo) uint64 { return uint64(info.Size()) }
