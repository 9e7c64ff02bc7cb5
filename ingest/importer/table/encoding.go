package table

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
)

// aliases are names of encodings that exports and people use and the WHATWG
// index does not know. Keys are in lower case, with '-' for '_' and ' '.
var aliases = map[string]string{
	"latin-1":   "windows-1252",
	"ansi":      "windows-1252",
	"cp936":     "gbk",
	"cp950":     "big5",
	"cp932":     "shift_jis",
	"utf16":     "utf-16le",
	"utf16le":   "utf-16le",
	"utf16be":   "utf-16be",
	"utf8":      "utf-8",
	"utf-8-sig": "utf-8",
	"mac-roman": "macintosh",
}

var commonEncodings = []string{"utf-8", "gb18030", "gbk", "big5", "shift_jis", "euc-jp", "euc-kr",
	"latin-1", "iso-8859-1", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252", "utf-16le", "utf-16be"}

// lookupEncoding finds an encoding by name; utf-8 is found as unicode.UTF8.
func lookupEncoding(name string) (encoding.Encoding, error) {
	known := strings.ToLower(strings.TrimSpace(name))
	if alias, ok := aliases[strings.NewReplacer("_", "-", " ", "-").Replace(known)]; ok {
		known = alias
	}
	e, err := htmlindex.Get(known)
	if err == nil && e != encoding.Replacement {
		return e, nil
	}
	wanted := "a name such as utf-8, gb18030, gbk, big5, shift_jis, latin-1, windows-1252 or utf-16le is wanted"
	if near := nearest(known, commonEncodings); near != "" {
		wanted += "; " + near + " is near"
	}
	return nil, wrongOption("encoding", "is %q, which is not known: %s", name, wanted)
}

// marks are the byte order marks and what they say.
var marks = []struct{ mark, name string }{
	{"\xef\xbb\xbf", "utf-8"},
	{"\xff\xfe", "utf-16le"},
	{"\xfe\xff", "utf-16be"},
}

// decode returns the text of r in utf-8 without a byte order mark, the name
// of its encoding, and whether that was another one than utf-8; if so, bytes
// that are not of it come out as U+FFFD.
func decode(r *bufio.Reader, name string) (text io.Reader, known string, decoded bool, err error) {
	known = name
	if known == "" {
		known = "utf-8"
	}
	head, _ := r.Peek(3)
	for _, m := range marks {
		if bytes.HasPrefix(head, []byte(m.mark)) {
			known = m.name
			if _, err := r.Discard(len(m.mark)); err != nil {
				return nil, "", false, err
			}
			break
		}
	}
	e, err := lookupEncoding(known)
	if err != nil {
		return nil, "", false, err
	}
	if e == unicode.UTF8 {
		return r, known, false, nil
	}
	return e.NewDecoder().Reader(r), known, true, nil
}
