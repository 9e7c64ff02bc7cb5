package cloudevents

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/dossier360/dossier/ingest"
)

// maxSlugBytes is what a source has room for beside "-" and its hash.
const maxSlugBytes = 40 - 1 - 8

// Source makes a source of the attribute of that name: itself where it is
// spelled as one, [a-z0-9_-]{1,40}; else what of it can be, and 8 hex digits of
// its SHA-256, so that two that differ stay two.
func Source(attribute string) string {
	if ingest.ValidSource(attribute) {
		return attribute
	}
	var slug strings.Builder
	for _, c := range []byte(strings.ToLower(attribute)) {
		if slug.Len() == maxSlugBytes {
			break
		}
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_':
			slug.WriteByte(c)
		case slug.Len() > 0 && !strings.HasSuffix(slug.String(), "-"):
			slug.WriteByte('-')
		}
	}
	hash := sha256.Sum256([]byte(attribute))
	return strings.TrimLeft(strings.TrimRight(slug.String(), "-")+"-", "-") + hex.EncodeToString(hash[:4])
}
