package front

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// maxWrappings is how many wrappings of a body are taken off: no client was
// seen to use more than a form around Base64 around gzip.
const maxWrappings = 5

// unpack takes a body out of what PostHog's clients wrap around it: gzip, told
// by the body or not at all, Base64, a form or an object with the body under
// data. The first byte of each says what it is, whatever the call says. The key
// is the write key that a wrapping carries.
func unpack(sent []byte, query url.Values, held *holding) (body []byte, key string, refused *ingest.Rejection) {
	compression := query.Get("compression")
	body = sent
	for range maxWrappings {
		body = bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\ufeff"))
		var w wrapping
		switch {
		case bytes.HasPrefix(body, gzipMagic):
			if w.data, refused = inflate(body, "the body begins as gzip does, and is not: ", held); refused != nil {
				return nil, key, refused
			}
		case len(body) == 0 || body[0] == '[':
		case body[0] == '{':
			w = objectWrapping(body)
		default:
			if !held.grow(2 * int64(len(body))) { // decoded, and as text before
				return nil, key, unreadableBody(errNoMemory, "")
			}
			w = textWrapping(body, compression)
		}
		key, compression = cmp.Or(key, w.key), cmp.Or(w.compression, compression)
		if w.data == nil {
			break
		}
		body = w.data
	}
	if more := len(body) - len(sent); more > 0 && !held.grow(workFactor*int64(more)) {
		return nil, key, unreadableBody(errNoMemory, "")
	}
	return body, key, refuseCompression(compression, body)
}

var gzipMagic = []byte{0x1f, 0x8b}

// wrapping is what a body is wrapped in; data is nil if it is not.
type wrapping struct {
	data             []byte
	key, compression string
}

// objectWrapping reads {"data": "…", "compression": "…"}. An event may hold
// data of its own.
func objectWrapping(body []byte) wrapping {
	src := string(body)
	members, err := jsontree.CutObject(src)
	if err != nil {
		return wrapping{} // for the wire to refuse
	}
	var w wrapping
	var t jsontree.Tree
	for _, m := range members {
		switch {
		case m.Key == "event" || m.Key == "batch":
			return wrapping{}
		case m.Key != "data" && m.Key != "compression" && !ingest.IsWriteKey(m.Key):
			continue
		case t.Parse(m.Value.Of(src), 1) != nil:
			return wrapping{}
		}
		switch text, ok := properties.Text(t.Root()); {
		case !ok:
		case m.Key == "data":
			w.data = []byte(text)
		case m.Key == "compression":
			w.compression = text
		default:
			w.key = text
		}
	}
	return w
}

// textWrapping reads a form, or Base64.
func textWrapping(body []byte, compression string) wrapping {
	if form := formOf(body); form != nil {
		return wrapping{
			data: []byte(form.Get("data")), compression: form.Get("compression"),
			key: cmp.Or(form.Get("api_key"), form.Get("token")),
		}
	}
	// A plus sign that stood in a form or an address arrived as a space.
	text := strings.TrimRight(strings.NewReplacer(" ", "+", "-", "+", "_", "/", "\r", "", "\n", "").Replace(string(body)), "=")
	plain, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || compression != "base64" && !bytes.HasPrefix(plain, gzipMagic) && !bytes.HasPrefix(plain, []byte("{")) && !bytes.HasPrefix(plain, []byte("[")) {
		return wrapping{}
	}
	return wrapping{data: plain}
}

// formOf is a form with a field data; nil of anything else.
func formOf(body []byte) url.Values {
	if !bytes.HasPrefix(body, []byte("data=")) && !bytes.Contains(body, []byte("&data=")) {
		return nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("data") == "" {
		return nil
	}
	return form
}

// refuseCompression refuses a body that is still compressed, in a way that is
// not understood.
func refuseCompression(compression string, body []byte) *ingest.Rejection {
	switch compression {
	case "", "gzip", "gzip-js", "base64":
		return nil
	}
	if len(body) > 0 && (body[0] == '{' || body[0] == '[') {
		return nil
	}
	return ingest.Refuse(ingest.CodeNotJSON, "compression", "gzip, gzip-js, base64 or none",
		"compression is "+ingest.Shown(compression)+": gzip, gzip-js, base64 or none wanted")
}

// asPost makes a call with a body of one that has it in its address.
func asPost(r *http.Request, path string, body []byte) *http.Request {
	post := r.Clone(r.Context())
	post.Method, post.URL.Path = http.MethodPost, path
	post.Body, post.ContentLength = http.NoBody, int64(len(body))
	if len(body) > 0 {
		post.Body = readCloser{bytes.NewReader(body)}
	}
	post.Header.Del("Content-Encoding")
	return post
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }
