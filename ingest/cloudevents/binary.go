package cloudevents

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
)

const headerPrefix = "ce-"

// IsBinary reports whether headers tell an event: any of the attributes that all
// events have. What is missing of them is then refused by name.
func IsBinary(header map[string][]string) bool {
	for name := range header {
		if attribute, ok := attributeOf(name); ok && slices.Contains(required[:], attribute) {
			return true
		}
	}
	return false
}

// attributeOf is the attribute that a header tells, whose name HTTP writes in
// any case.
func attributeOf(header string) (attribute string, ok bool) {
	return strings.CutPrefix(strings.ToLower(header), headerPrefix)
}

// structured makes the structured form of an event in binary mode. Where a
// header cannot be read, its attribute is left as it was sent.
func structured(contentType string, header map[string][]string, body []byte) (text []byte, refused *ingest.Rejection) {
	var members jsontree.Builder
	for name, values := range header {
		attribute, ok := attributeOf(name)
		if !ok || len(values) == 0 {
			continue
		}
		value := values[0]
		decoded, valid := headerValue(value)
		switch {
		case attribute == "" || attribute == "data" || attribute == "data_base64" || attribute == "datacontenttype":
			if attribute == "datacontenttype" && contentType == "" {
				contentType = decoded
			}
			continue // the body is the data, and Content-Type what it is
		case len(values) > 1 || members.Has(attribute):
			refused = ingest.Refuse(ingest.CodeBadType, headerPrefix+attribute, "one header",
				"header "+headerPrefix+attribute+" is given more than once")
		case !valid:
			refused = ingest.Refuse(ingest.CodeNotUTF8, headerPrefix+attribute, "UTF-8, percent-encoded",
				"header "+headerPrefix+attribute+" is "+ingest.Shown(strings.ToValidUTF8(value, "\uFFFD"))+", which does not decode to UTF-8")
		default:
			value = decoded
		}
		if !members.Has(attribute) {
			members.AddText(attribute, jsontree.AppendString(nil, value))
		}
	}
	if contentType != "" {
		members.AddText("datacontenttype", jsontree.AppendString(nil, strings.ToValidUTF8(contentType, "\uFFFD")))
	}
	addData(&members, contentType, body)
	return members.Append(nil), refused
}

// addData adds the data as JSON, as text, or else in base64: so is JSON that
// cannot be read, for its original to be the publisher's.
func addData(members *jsontree.Builder, contentType string, body []byte) {
	media := mediaType(contentType)
	var tree jsontree.Tree
	switch {
	case len(body) == 0:
	case (media == "" || isJSON(media)) && tree.Parse(string(body), 1) == nil:
		members.AddText("data", body)
	case media != "" && !isJSON(media) && !isProtobuf(media) && utf8.Valid(body):
		members.AddText("data", jsontree.AppendString(nil, string(body)))
	default:
		text := make([]byte, 0, base64.StdEncoding.EncodedLen(len(body))+2)
		text = append(base64.StdEncoding.AppendEncode(append(text, '"'), body), '"')
		members.AddText("data_base64", text)
	}
}

// headerValue decodes the value of a header: a string in double quotes, which
// older senders use, then one round of percent-encoding. False: what comes of it
// is not UTF-8.
func headerValue(sent string) (string, bool) {
	b := []byte(unquoted(sent))
	out := b[:0]
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if n, err := strconv.ParseUint(string(b[i+1:i+3]), 16, 8); err == nil {
				out = append(out, byte(n))
				i += 2
				continue
			}
		}
		out = append(out, b[i]) // a '%' of older senders, who did not encode it
	}
	return string(out), utf8.Valid(out)
}

// unquoted takes the quotes and the backslashes off a quoted string.
func unquoted(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
