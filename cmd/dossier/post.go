package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// writeKeyFlag adds the flag of what the server's ingest side asks for.
func (c *client) writeKeyFlag() {
	c.flags.StringVar(&c.writeKey, "write-key", "", "`KEY` that the server's ingest side asks for (env DOSSIER_WRITE_KEY, also as NAME=KEY)")
}

// firstKey is the first of the keys in the environment: the variable is the
// server's too, which may have several, each with the name of a source.
func firstKey(keys string) string {
	first, _, _ := strings.Cut(keys, ",")
	if _, key, named := strings.Cut(first, "="); named {
		return key
	}
	return first
}

// post makes a call of the server's ingest side and reads the JSON of the
// answer, no more than most bytes of it, whatever the status. The body of the
// response has been read.
func (c *client) post(ctx context.Context, path string, asked, answer any, most int64) (*http.Response, error) {
	body, err := json.Marshal(asked)
	if err != nil {
		return nil, fmt.Errorf("encode the call of %s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.server, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.writeKey != "" {
		req.SetBasicAuth(c.writeKey, "")
	}
	resp, err := (&http.Client{Transport: c.transport()}).Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, most))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer of %s: %w", path, err)
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, c.wrongWriteKey()
	case json.Unmarshal(raw, answer) != nil:
		return nil, c.notDossier(resp.Status)
	}
	return resp, nil
}

// wrongWriteKey says what to do about a write key that is missing or unknown.
func (c *client) wrongWriteKey() error {
	if c.writeKey != "" {
		return fmt.Errorf(words[c.lang].writeKeyRefused, c.shown)
	}
	return fmt.Errorf(words[c.lang].writeKeyRemedy, c.shown)
}

// notDossier says that something else answered, and what.
func (c *client) notDossier(answered string) error {
	return fmt.Errorf(words[c.lang].notDossier, c.shown, answered)
}
