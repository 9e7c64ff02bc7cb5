package main

import "fmt"

// maxIdentityPage is how many rows one call of a list about who is who asks for.
const maxIdentityPage = 200

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
		size := maxIdentityPage
		if limit > 0 {
			size = min(left, maxIdentityPage)
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

// listed prints a table with one row a thing, or that there is none, and what is
// to be said below.
func (c *client) listed(t *table, none string, footer ...string) error {
	if len(t.rows) <= 1 {
		_, err := fmt.Fprintln(c.std.out, none)
		return err
	}
	if err := t.write(c.std.out); err != nil {
		return err
	}
	for _, line := range footer {
		if line == "" {
			continue
		}
		if _, err := fmt.Fprintln(c.std.err, line); err != nil {
			return err
		}
	}
	return nil
}
