package table

import (
	"bytes"
	"errors"
	"io"
)

// errLongRow says that no end of line comes within maxRowBytes.
var errLongRow = errors.New("row too long")

// lines cuts a text into lines, with lookahead over several of them: a quoted
// cell may run on, and may turn out to be a mistake, when only its first line
// is taken. Offsets count from the first byte not yet taken.
type lines struct {
	r        io.Reader
	buf      []byte
	pos, end int // buf[pos:end] is read and not taken
	readErr  error
	ending   byte // '\n', or '\r' in a file that has no '\n' where it begins
	line     int  // number of the line that begins at pos, from 1
}

const linesBufferBytes = 128 << 10

// newLines reads the beginning of r and decides by it how lines end. A read
// error is kept until the lines before it are taken.
func newLines(r io.Reader) *lines {
	l := &lines{r: r, buf: make([]byte, linesBufferBytes), ending: '\n', line: 1}
	for l.readErr == nil && l.end < len(l.buf)/2 {
		l.fill()
		if bytes.IndexByte(l.buf[:l.end], '\n') >= 0 {
			return l
		}
	}
	if bytes.IndexByte(l.buf[:l.end], '\r') >= 0 {
		l.ending = '\r'
	}
	return l
}

// at returns the line that begins off bytes after the first one not taken,
// without its ending, and the offset behind that ending. The bytes are valid
// until the next call. It returns io.EOF where nothing follows, and
// errLongRow if everything up to the line's end is more than a row may be.
func (l *lines) at(off int) (line []byte, next int, err error) {
	from := off
	for {
		if i := bytes.IndexByte(l.buf[l.pos+from:l.end], l.ending); i >= 0 {
			if from+i > maxRowBytes {
				return nil, 0, errLongRow
			}
			return l.trim(l.buf[l.pos+off : l.pos+from+i]), from + i + 1, nil
		}
		from = l.end - l.pos
		if from > maxRowBytes {
			return nil, 0, errLongRow
		}
		if l.readErr == io.EOF && from > off {
			return l.trim(l.buf[l.pos+off : l.end]), from, nil
		}
		if l.readErr != nil {
			return nil, 0, l.readErr
		}
		l.fill()
	}
}

// trim takes the '\r' of "\r\n" off.
func (l *lines) trim(line []byte) []byte {
	if n := len(line); l.ending == '\n' && n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// window returns the bytes from the first one not taken to the offset.
func (l *lines) window(to int) []byte { return l.buf[l.pos : l.pos+to] }

// take moves on by an offset that at returned, n lines further.
func (l *lines) take(next, n int) {
	l.pos += next
	l.line += n
}

// drop passes over the line at the beginning, however long it is.
func (l *lines) drop() error {
	for {
		if i := bytes.IndexByte(l.buf[l.pos:l.end], l.ending); i >= 0 {
			l.take(i+1, 1)
			return nil
		}
		l.pos = l.end
		if l.readErr == io.EOF {
			l.line++
			return nil
		}
		if l.readErr != nil {
			return l.readErr
		}
		l.fill()
	}
}

// fill reads once more, after making room: by moving what is not taken to the
// front, or by doubling the buffer, which at never lets grow beyond four rows.
func (l *lines) fill() {
	if l.pos > 0 && (l.end == len(l.buf) || l.pos == l.end) {
		l.end = copy(l.buf, l.buf[l.pos:l.end])
		l.pos = 0
	}
	if l.end == len(l.buf) {
		grown := make([]byte, 2*len(l.buf))
		copy(grown, l.buf[:l.end])
		l.buf = grown
	}
	for range 100 {
		n, err := l.r.Read(l.buf[l.end:])
		l.end += n
		l.readErr = err
		if n > 0 || err != nil {
			return
		}
	}
	l.readErr = io.ErrNoProgress
}
