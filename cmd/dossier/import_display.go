package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// A bar moves this often, and a line is written this often where nothing
	// moves.
	barInterval  = 200 * time.Millisecond
	lineInterval = 10 * time.Second
	// barCells is how wide a bar is.
	barCells = 24
	// clearLine goes back to the beginning of a terminal's line and wipes it.
	clearLine = "\r\x1b[K"
)

// importDisplay shows on standard error how an import goes: a bar on a
// terminal, a line now and then elsewhere, nothing with --json.
type importDisplay struct {
	c        *importCommand
	terminal bool
	quit     chan struct{}
	done     sync.WaitGroup

	mu    sync.Mutex
	shown bool   // a bar is on the terminal's line
	said  string // the last reason for waiting
}

func newImportDisplay(c *importCommand) *importDisplay {
	d := &importDisplay{c: c, terminal: isTerminal(c.std.err), quit: make(chan struct{})}
	if c.json {
		return d
	}
	interval := lineInterval
	if d.terminal {
		interval = barInterval
	}
	d.done.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				d.show()
			case <-d.quit:
				return
			}
		}
	})
	return d
}

// isTerminal reports whether what is written there is shown at once and can be
// written over.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// stop ends the display and leaves an empty line.
func (d *importDisplay) stop() {
	close(d.quit)
	d.done.Wait()
	d.clear()
}

func (d *importDisplay) show() {
	line := d.c.progressLine(time.Since(d.c.begun))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.terminal {
		d.shown = true
		fmt.Fprint(d.c.std.err, clearLine+line)
		return
	}
	fmt.Fprintln(d.c.std.err, line)
}

// clear wipes the bar, so that something else may be written.
func (d *importDisplay) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wipe()
}

func (d *importDisplay) wipe() {
	if d.shown {
		fmt.Fprint(d.c.std.err, clearLine)
		d.shown = false
	}
}

// waiting says what the import waits for, once for the same reason until
// something else is waited for.
func (d *importDisplay) waiting(reason error, pause time.Duration) {
	text := plain(reason.Error())
	d.mu.Lock()
	defer d.mu.Unlock()
	if text == d.said {
		return
	}
	d.said = text
	d.wipe()
	fmt.Fprintf(d.c.std.err, words[d.c.lang].importWaiting+"\n", d.c.shown, text, pause, d.c.wait)
}

// progressLine says how far the import is: by bytes, as nobody knows how many
// rows there are.
func (c *importCommand) progressLine(elapsed time.Duration) string {
	p := printerFor(c.lang)
	at := c.files.Progress()
	share := 0.0
	if at.Total > 0 {
		share = float64(at.Done) / float64(at.Total)
	}
	rate := float64(at.Rows) / max(elapsed.Seconds(), 1e-3)
	line := fmt.Sprintf("%s  %s  %s", plain(at.File), bar(share), fmt.Sprintf(p.importRateFormat, p.number(at.Rows), p.number(int64(rate))))
	if share > 0 && share < 1 {
		left := time.Duration(float64(elapsed) * (1 - share) / share).Round(time.Second)
		line += "  " + fmt.Sprintf(p.importLeftFormat, left)
	}
	return line
}

// bar draws a share of the whole.
func bar(share float64) string {
	full := min(max(int(share*barCells), 0), barCells)
	return fmt.Sprintf("[%s%s] %3d%%", strings.Repeat("#", full), strings.Repeat(".", barCells-full), int(share*100))
}
