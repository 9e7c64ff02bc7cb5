package front

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// source finds the source that a write key names, and whether the key is
// known. Without configured keys every key is, and names none.
func (f *front) source(key string) (source string, known bool) {
	if len(f.WriteKeys) == 0 {
		return "", true
	}
	source, known = f.WriteKeys[key]
	return source, known && key != ""
}

// headerSource looks for a known write key outside the body: the Basic user,
// the query, the Bearer token. The first known one counts; a client may send
// another credential beside it.
func (f *front) headerSource(r *http.Request) (source string, known bool) {
	if len(f.WriteKeys) == 0 {
		return "", true
	}
	authorization := r.Header.Get("Authorization")
	for _, key := range [...]string{basicUser(authorization), r.URL.Query().Get("writeKey"), bearer(authorization)} {
		if source, known = f.source(key); known {
			return source, true
		}
	}
	return "", false
}

// basicUser is the user of Basic credentials. The colon after it may be
// missing: several clients forget it.
func basicUser(authorization string) string {
	encoded, ok := cutScheme(authorization, "Basic ")
	if !ok {
		return ""
	}
	plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return ""
	}
	user, _, _ := strings.Cut(string(plain), ":")
	return user
}

func bearer(authorization string) string {
	token, _ := cutScheme(authorization, "Bearer ")
	return token
}

func cutScheme(authorization, scheme string) (string, bool) {
	if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimSpace(authorization[len(scheme):]), true
}

// mediaType is the Content-Type without its parameters, in lower case. They need
// not be well formed.
func mediaType(r *http.Request) string {
	t, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(t))
}
