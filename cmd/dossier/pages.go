package main

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

// pageRows is how many rows one call of a list asks for.
const pageRows = 200

// moreWords say that a list was cut by its limit.
var moreWords = map[string]string{
	langEN: "there are more; --limit 0 shows all",
	langZH: "还有更多；用 --limit 0 显示全部",
}

// limitFlag is of commands that list.
func (c *client) limitFlag(of string) *int {
	return c.flags.Int("limit", defaultListLimit, "at most `N` "+of+"; 0 means all")
}

func checkLimit(limit int) error {
	if limit < 0 {
		return wrongUsage("--limit %d: a number, or 0 for all, wanted", limit)
	}
	return nil
}

// eachPage asks for page after page, up to limit rows; 0 means all. It reports
// whether there are more.
func eachPage[R any](limit int, page func(size uint32, token string) (rows []R, next string, err error), do func(R) error) (more bool, err error) {
	token := ""
	for left := limit; ; {
		size := pageRows
		if limit > 0 {
			size = min(left, pageRows)
		}
		rows, next, err := page(uint32(size), token)
		if err != nil {
			return false, err
		}
		for _, row := range rows {
			if err := do(row); err != nil {
				return false, err
			}
		}
		token = next
		if left -= len(rows); token == "" || limit > 0 && left <= 0 {
			return token != "", nil
		}
	}
}

// listing is a list as a command prints it: a table that begins with its
// headings, or with --json a line each.
type listing struct {
	*client
	table
	more bool // the limit cut it
}

func (c *client) listing(headings ...string) *listing {
	l := &listing{client: c}
	l.add(headings...)
	return l
}

// addRows asks for rows, of which cells makes lines of the table.
func addRows[R proto.Message](l *listing, limit int, page func(size uint32, token string) (rows []R, next string, err error), cells func(R) []string) (err error) {
	l.more, err = eachPage(limit, page, func(row R) error {
		if l.json {
			return writeLine(l.std.out, row)
		}
		l.add(cells(row)...)
		return nil
	})
	return err
}

// print prints what was not printed as it came, or that there is nothing, and
// what is to be said below.
func (l *listing) print(none string, footer ...string) error {
	if l.json {
		return nil
	}
	if len(l.rows) == 1 {
		_, err := fmt.Fprintln(l.std.out, none)
		return err
	}
	if err := l.write(l.std.out); err != nil {
		return err
	}
	if l.more {
		footer = append([]string{moreWords[l.lang]}, footer...)
	}
	for _, line := range footer {
		if _, err := fmt.Fprintln(l.std.err, line); err != nil {
			return err
		}
	}
	return nil
}
