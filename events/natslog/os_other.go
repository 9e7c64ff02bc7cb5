//go:build !unix

package natslog

import (
	"os"
	"path/filepath"
)

// lockDir opens the lock file. Where there is no flock nothing keeps a second
// server away but the port it would listen on.
func lockDir(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
}

// syncDir does nothing: where directories cannot be opened as files, their
// entries are durable with the file's own sync.
func syncDir(string) error { return nil }
