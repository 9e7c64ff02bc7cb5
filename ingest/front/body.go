package front

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"

	"github.com/dossier360/dossier/ingest"
)

// These mark, inside this package, a body that is not at fault: there was no
// memory for it, or it came in part only.
const (
	codeOverload   ingest.Code = "overload"
	codeIncomplete ingest.Code = "incomplete"
)

// errIncomplete says that the line broke or was too slow.
var errIncomplete = errors.New("the body broke off")

// again is why a call whose body was not read is to be sent again; nil if that
// would not help.
func again(refused *ingest.Rejection) error {
	switch {
	case refused == nil:
		return nil
	case refused.Code == codeOverload:
		return ingest.ErrOverload
	case refused.Code == codeIncomplete:
		return fmt.Errorf("%w: %s", errIncomplete, refused.Message)
	}
	return nil
}

// memory bounds what all calls hold together.
type memory struct {
	free atomic.Int64 // bytes
}

// hold begins to account for one call.
func (m *memory) hold() *holding { return &holding{memory: m} }

// holding is the memory of one call; of one goroutine.
type holding struct {
	*memory
	bytes int64
}

// grow takes n more bytes, or none if there are not so many.
func (h *holding) grow(n int64) bool {
	if h.free.Add(-n) < 0 {
		h.free.Add(n)
		return false
	}
	h.bytes += n
	return true
}

func (h *holding) release() { h.shrink(0) }

// shrink gives back all but n bytes.
func (h *holding) shrink(n int64) {
	n = min(n, h.bytes)
	h.free.Add(h.bytes - n)
	h.bytes = n
}

// workFactor is how many bytes decoding and the drafts hold for each byte of a
// body: its copy as a string, the events, their JSON.
const workFactor = 4

// readBody reads the body of a call, and inflates it if it is compressed. Raw
// is what came over the wire, as far as it is kept: nothing of a body that
// says it is too large, the beginning of one that turns out to be.
func readBody(w http.ResponseWriter, r *http.Request, held *holding) (raw, body []byte, refused *ingest.Rejection) {
	if r.ContentLength > ingest.MaxBodyBytes {
		drain(w, r, 0)
		return nil, nil, bodyTooLarge(strconv.FormatInt(r.ContentLength, 10) + " bytes")
	}
	raw, err := readAll(io.LimitReader(r.Body, ingest.MaxBodyBytes+1), max(r.ContentLength, 0), held)
	switch read := len(raw); {
	case errors.Is(err, errNoMemory):
		raw = nil
		held.release()
		drain(w, r, read)
		return nil, nil, unreadableBody(err, "")
	case err != nil:
		w.Header().Set("Connection", "close")
		reason := "more was announced than came"
		if errors.Is(err, os.ErrDeadlineExceeded) {
			reason = "it took too long"
		}
		return nil, nil, ingest.Refuse(codeIncomplete, "", "", reason)
	case read > ingest.MaxBodyBytes:
		raw = bytes.Clone(raw[:ingest.MaxRejectBytes])
		held.shrink(ingest.MaxRejectBytes)
		drain(w, r, read)
		return raw, nil, bodyTooLarge("more")
	}
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
		body = raw
	case "gzip", "x-gzip":
		if body, refused = inflate(raw, "Content-Encoding is gzip, which the body is not: ", held); refused != nil {
			return raw, nil, refused
		}
	default:
		return raw, nil, ingest.Refuse(ingest.CodeNotJSON, "Content-Encoding", "gzip or none",
			"Content-Encoding is "+ingest.Shown(encoding)+": gzip or none wanted")
	}
	if !held.grow(workFactor * int64(len(body))) {
		return raw, nil, unreadableBody(errNoMemory, "")
	}
	return raw, bytes.TrimPrefix(body, []byte("\ufeff")), nil
}

// maxDrainedBytes is how much is read of a body in all, of which nothing
// beyond the limit is held.
const maxDrainedBytes = ingest.MaxBodyBytes + 8<<20

// drain reads on a body of which read bytes were read and no more is wanted.
// Most clients write all of their body before they look for an answer: one
// that comes sooner, on a connection then closed, they never see. Its time is
// bounded by the server's ReadTimeout.
func drain(w http.ResponseWriter, r *http.Request, read int) {
	waits := read == 0 && strings.EqualFold(r.Header.Get("Expect"), "100-continue")
	if !waits && r.ContentLength <= maxDrainedBytes {
		left := int64(maxDrainedBytes - read)
		n, err := io.Copy(io.Discard, io.LimitReader(r.Body, left+1))
		if err == nil && n <= left {
			return // to its end: another call may follow
		}
	}
	w.Header().Set("Connection", "close")
}

// inflate unzips; the prefix of its refusals says who claimed that it can.
func inflate(raw []byte, prefix string, held *holding) ([]byte, *ingest.Rejection) {
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, unreadableBody(err, prefix)
	}
	body, err := readAll(io.LimitReader(z, ingest.MaxInflatedBytes+1), int64(len(raw)), held)
	if err != nil {
		return nil, unreadableBody(err, prefix)
	}
	if len(body) > ingest.MaxInflatedBytes {
		limit := strconv.Itoa(ingest.MaxInflatedBytes) + " bytes"
		return nil, ingest.Refuse(ingest.CodeTooLarge, "", limit+" inflated", "the body inflates to more than "+limit)
	}
	return body, nil
}

// errNoMemory says that all calls together hold what they may.
var errNoMemory = errors.New("no memory for the body")

// readAll reads to the end. The memory it holds is accounted for before it is
// taken.
func readAll(r io.Reader, expected int64, held *holding) ([]byte, error) {
	// A byte more than expected, so that the end shows without growing; but what
	// a header claims is not believed further than this.
	size := max(min(expected+1, 256<<10), 512)
	if !held.grow(size) {
		return nil, errNoMemory
	}
	b := make([]byte, 0, size)
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		case len(b) < cap(b):
			continue
		}
		grown := 2 * int64(cap(b))
		if !held.grow(grown) {
			return b, errNoMemory
		}
		b = append(make([]byte, 0, grown), b...)
	}
}

func unreadableBody(err error, prefix string) *ingest.Rejection {
	if errors.Is(err, errNoMemory) {
		return ingest.Refuse(codeOverload, "", "", err.Error())
	}
	return ingest.Refuse(ingest.CodeNotJSON, "", "a body that can be read", prefix+err.Error())
}

func bodyTooLarge(size string) *ingest.Rejection {
	limit := strconv.Itoa(ingest.MaxBodyBytes) + " bytes"
	return ingest.Refuse(ingest.CodeTooLarge, "", limit, fmt.Sprintf("the body has %s, limit %s", size, limit))
}
