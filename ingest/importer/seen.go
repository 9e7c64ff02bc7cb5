package importer

import (
	"crypto/sha256"

	"github.com/dossier360/dossier/events"
)

// seen remembers the records of a run, the latest of them: see seenGeneration.
type seen struct {
	generation int // bound of each map
	young, old map[recordKey]sighting
	files      []string
	fileNumber map[string]uint32
}

// recordKey is the hash of an event id: 128 bits of it, so that no two ids of an
// import have the same.
type recordKey [16]byte

// sighting is where a record stood, and what it said.
type sighting struct {
	content uint64
	line    uint32
	file    uint32
}

func newSeen(generation int) *seen {
	return &seen{generation: generation, young: map[recordKey]sighting{}, fileNumber: map[string]uint32{}}
}

// place is where a record stood first.
type place struct {
	file string
	line int
}

// check remembers a record. If it was seen before it returns where, and whether
// it said the same.
func (s *seen) check(id string, content []byte, file string, line int) (first place, same, found bool) {
	sum := sha256.Sum256([]byte(id))
	key := recordKey(sum[:16])
	hash := events.BodyHash(content)
	at, found := s.young[key]
	if !found {
		at, found = s.old[key]
	}
	if found {
		return place{s.files[at.file], int(at.line)}, at.content == hash, true
	}
	if len(s.young) == s.generation {
		s.young, s.old = map[recordKey]sighting{}, s.young
	}
	s.young[key] = sighting{content: hash, line: uint32(line), file: s.number(file)}
	return place{}, false, false
}

func (s *seen) number(file string) uint32 {
	n, ok := s.fileNumber[file]
	if !ok {
		n = uint32(len(s.files))
		s.files, s.fileNumber[file] = append(s.files, file), n
	}
	return n
}
