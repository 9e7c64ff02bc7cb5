package table

import (
	"archive/zip"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
)

// source is a file on disk, seen as the one file or the several files that
// are in it.
type source struct {
	name   string // without its folder
	disk   *os.File
	size   int64
	done   *atomic.Int64
	single bool // one file, packed by gzip or not; else a zip archive
	left   []*zip.File
	open   io.Closer // of the part being read
}

// part is one file to read: its bytes, unpacked.
type part struct {
	name string
	size int64 // on disk
	r    *bufio.Reader
}

const (
	magicGzip = "\x1f\x8b"
	magicZip  = "PK\x03\x04"
	magicNone = "PK\x05\x06" // a zip archive without files
	sniffed   = 4096         // bytes looked at before reading
)

func openSource(file string, o Options, done *atomic.Int64) (*source, error) {
	disk, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	s := &source{name: filepath.Base(file), disk: disk, done: done}
	if err := s.look(o); err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return s, nil
}

// look finds out what the file is packed with.
func (s *source) look(o Options) error {
	info, err := s.disk.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s: is a folder: give the files in it", s.name)
	}
	s.size = info.Size()
	head := make([]byte, 4)
	n, err := s.disk.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", s.name, err)
	}
	if magic := string(head[:n]); magic != magicZip && magic != magicNone {
		if o.Inside != "" {
			return fmt.Errorf("%s: is no zip archive, so inside: %s picks nothing in it", s.name, o.Inside)
		}
		s.single = true
		return nil
	}
	return s.lookInside(o)
}

// lookInside reads the directory of a zip archive. A workbook is a zip
// archive too, and is one file to us.
func (s *source) lookInside(o Options) error {
	archive, err := zip.NewReader(&counterAt{r: s.disk, n: s.done}, s.size)
	if err != nil {
		return fmt.Errorf("%s: is a damaged zip archive, perhaps not wholly copied: %w", s.name, err)
	}
	s.done.Store(0) // the directory is no progress
	if what := officeKind(archive.File); what != "" {
		s.single = true
		if what != formatXLSX || o.Format != formatXLSX {
			return fmt.Errorf("%s: %s", s.name, officeAdvice(what, o.Format))
		}
		return nil
	}
	if len(archive.File) > maxZipFiles {
		return fmt.Errorf("%s: the archive holds %d files: at most %d can be read", s.name, len(archive.File), maxZipFiles)
	}
	var names []string
	for _, f := range archive.File {
		if hidden(f) {
			continue
		}
		names = append(names, f.Name)
		if picked(o.Inside, f.Name) {
			s.left = append(s.left, f)
		}
	}
	if o.Inside != "" && len(s.left) == 0 {
		return fmt.Errorf("%s: inside: %q matches none of its files: %s", s.name, o.Inside, some(names))
	}
	slices.SortFunc(s.left, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// hidden reports what archivers put in beside the files that were meant.
func hidden(f *zip.File) bool {
	return strings.HasSuffix(f.Name, "/") || strings.HasPrefix(f.Name, "__MACOSX/") ||
		strings.HasPrefix(path.Base(f.Name), ".")
}

// picked matches the whole name, or the name without its folder.
func picked(inside, name string) bool {
	if inside == "" || inside == name || inside == path.Base(name) {
		return true
	}
	whole, _ := path.Match(inside, name)
	base, _ := path.Match(inside, path.Base(name))
	return whole || base
}

func checkInside(inside string) error {
	if _, err := path.Match(inside, ""); err != nil {
		return wrongOption("inside", "is %q: a name, or a pattern with *, ? and [a-z], is wanted, and a bracket in it is not closed", inside)
	}
	return nil
}

// some lists names, the first few of many.
func some(names []string) string {
	const shownNames = 10
	if len(names) > shownNames {
		return strings.Join(names[:shownNames], ", ") + fmt.Sprintf(" and %d more", len(names)-shownNames)
	}
	return strings.Join(names, ", ")
}

// next opens the next file; the one before is closed. It returns io.EOF
// behind the last one.
func (s *source) next() (part, error) {
	if err := s.closePart(); err != nil {
		return part{}, err
	}
	if s.single {
		if s.open != nil {
			return part{}, io.EOF
		}
		s.open = io.NopCloser(nil)
		if _, err := s.disk.Seek(0, io.SeekStart); err != nil {
			return part{}, fmt.Errorf("read %s: %w", s.name, err)
		}
		return s.unpack(s.name, &counter{r: s.disk, n: s.done})
	}
	if len(s.left) == 0 {
		return part{}, io.EOF
	}
	f := s.left[0]
	s.left = s.left[1:]
	name := s.name + "/" + f.Name
	if f.Flags&1 != 0 {
		return part{}, fmt.Errorf("%s: is protected by a password: unpack it first", name)
	}
	r, err := f.Open()
	if err != nil {
		return part{}, fmt.Errorf("read %s: %w", name, err)
	}
	s.open = r
	return s.unpack(name, newGuard(r, int64(f.CompressedSize64)))
}

// unpack reads through gzip, once.
func (s *source) unpack(name string, r io.Reader) (part, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, _ := b.Peek(2)
	if string(head) == magicGzip {
		z, err := gzip.NewReader(b)
		if err != nil {
			return part{}, fmt.Errorf("%s: is a damaged gzip file: %w", name, err)
		}
		b = bufio.NewReaderSize(newGuard(z, s.size), 64<<10)
	}
	if _, err := b.Peek(1); err != nil && err != io.EOF {
		return part{}, fmt.Errorf("read %s: %w", name, err)
	}
	return part{name: name, size: s.size, r: b}, nil
}

func (s *source) closePart() error {
	if s.open == nil || s.single {
		return nil
	}
	err := s.open.Close()
	s.open = nil
	return err
}

func (s *source) close() error {
	if s.disk == nil {
		return nil
	}
	err := errors.Join(s.closePart(), s.disk.Close())
	s.disk = nil
	return err
}

// counter counts the bytes that are read.
type counter struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// counterAt counts the bytes that are read, wherever they are.
type counterAt struct {
	r io.ReaderAt
	n *atomic.Int64
}

func (c *counterAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}

// guard ends the reading of what unpacks to far more than it should.
type guard struct {
	r      io.Reader
	packed int64
	left   int64
}

func newGuard(r io.Reader, packed int64) *guard {
	return &guard{r: r, packed: packed, left: max(maxInflatedFreeBytes, maxInflatedRatio*packed)}
}

func (g *guard) Read(p []byte) (int, error) {
	if g.left <= 0 {
		return 0, fmt.Errorf("its %d packed bytes unpack to more than %d times as much: if this is meant, unpack it first", g.packed, maxInflatedRatio)
	}
	n, err := g.r.Read(p[:min(int64(len(p)), g.left)])
	g.left -= int64(n)
	if err == io.ErrUnexpectedEOF || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, zip.ErrChecksum) {
		err = fmt.Errorf("the packed file is damaged, perhaps not wholly copied: %w", err)
	}
	return n, err
}
