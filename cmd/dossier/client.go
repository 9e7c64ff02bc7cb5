package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

const defaultServer = "http://127.0.0.1:8360"

// client is a command that asks a running server: its common flags, and what
// they say once parsed.
type client struct {
	std     stdio
	flags   *flags
	server  string
	shown   string // server, without its password
	readKey string
	// writeKey is told where the command posts.
	writeKey string
	lang     string
	json     bool
	// customer is the reference that the command asks about, if it does.
	customer string
	// roundTripper carries calls; nil: the network.
	roundTripper http.RoundTripper
}

// newClient begins a command; synopsis and about are its help text.
func newClient(std stdio, name, synopsis, about string) *client {
	c := &client{std: std, flags: newFlags(std, name, synopsis, about)}
	c.flags.StringVar(&c.server, "server", cmp.Or(std.getenv("DOSSIER_SERVER"), defaultServer), "`URL` of the server (env DOSSIER_SERVER)")
	c.flags.StringVar(&c.readKey, "read-key", "", "`KEY` that the server's query side asks for (env DOSSIER_READ_KEY)")
	c.flags.form(std, &c.lang, &c.json)
	return c
}

// flags are a command's flags and its help text.
type flags struct {
	*flag.FlagSet
	help func()
}

func newFlags(std stdio, name, synopsis, about string) *flags {
	fs := &flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError)}
	// Package flag would print its help after every mistake; a sentence does.
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.help = func() {
		fmt.Fprintf(std.out, "usage: dossier %s\n\n%s\n\nflags:\n", synopsis, about)
		fs.SetOutput(std.out)
		fs.PrintDefaults()
	}
	return fs
}

// form adds the flags that say how a command prints.
func (fs *flags) form(std stdio, lang *string, asJSON *bool) {
	fs.StringVar(lang, "lang", languageOf(std.getenv), "`zh` or en (default from LANG)")
	fs.BoolVar(asJSON, "json", false, "print JSON for programs")
}

// parse reads flags and arguments in any order and wants `names` arguments; of
// a last name that ends in "…" one or more. Names in brackets may be left out.
func (fs *flags) parse(args []string, names ...string) ([]string, error) {
	var positional []string
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			fs.help()
			return nil, err
		} else if err != nil {
			return nil, wrongUsage("%v; `dossier %s -h` tells the flags", err, fs.Name())
		}
		if fs.NArg() == 0 {
			break
		}
		positional, args = append(positional, fs.Arg(0)), fs.Args()[1:]
	}
	if len(positional) < len(names) && !strings.HasPrefix(names[len(positional)], "[") {
		return nil, wrongUsage("%s missing; `dossier %s -h` tells how", names[len(positional)], fs.Name())
	}
	if many := len(names) > 0 && strings.HasSuffix(strings.TrimSuffix(names[len(names)-1], "]"), "…"); len(positional) > len(names) && !many {
		return nil, wrongUsage("%q is one argument too many", positional[len(names)])
	}
	return positional, nil
}

// parse reads the command line and checks the common flags.
func (c *client) parse(args []string, names ...string) ([]string, error) {
	positional, err := c.flags.parse(args, names...)
	if err != nil {
		return nil, err
	}
	if err := checkLanguage(c.lang); err != nil {
		return nil, err
	}
	if !strings.Contains(c.server, "://") {
		c.server = "http://" + c.server
	}
	u, err := url.Parse(c.server)
	switch {
	case err != nil || u.Host == "": // what there is may hold a password
		return nil, wrongUsage("--server: no address; one such as %s wanted", defaultServer)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, wrongUsage("--server %q: an address such as %s wanted", u.Redacted(), defaultServer)
	}
	c.shown = u.Redacted()
	c.readKey = cmp.Or(c.readKey, c.std.getenv("DOSSIER_READ_KEY"))
	c.writeKey = cmp.Or(c.writeKey, firstKey(c.std.getenv("DOSSIER_WRITE_KEY")))
	return positional, nil
}

// dialTimeout bounds reaching the server; how long an answer takes is the
// server's matter, and a receipt or a tick may take a while.
const dialTimeout = 5 * time.Second

func (c *client) transport() http.RoundTripper {
	if c.roundTripper != nil {
		return c.roundTripper
	}
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
	}
}

func (c *client) service() queryv1connect.QueryServiceClient {
	return queryv1connect.NewQueryServiceClient(&http.Client{Transport: c.transport()}, c.server, bearing(c.readKey))
}

// bearing presents keys with every call; "" is none.
func bearing(keys ...string) connect.ClientOption {
	return connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			for _, key := range keys {
				if key != "" {
					req.Header().Add("Authorization", "Bearer "+key)
				}
			}
			return next(ctx, req)
		}
	}))
}

// explain turns the error of a call into a sentence that says what to do.
func (c *client) explain(err error) error {
	w := words[c.lang]
	var unreachable *net.OpError
	if errors.As(err, &unreachable) {
		return fmt.Errorf(w.noServer, c.shown, unreachable.Err)
	}
	var refused *connect.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.Code() {
	case connect.CodeInvalidArgument:
		return usageError{refused.Message()}
	case connect.CodeNotFound:
		if c.customer == "" {
			return errors.New(refused.Message())
		}
		return c.notFound()
	case connect.CodeUnauthenticated:
		if c.readKey != "" {
			return fmt.Errorf(w.readKeyRefused, c.shown)
		}
		return fmt.Errorf(w.readKeyRemedy, c.shown)
	case connect.CodeUnimplemented:
		return c.notDossier(refused.Message())
	default:
		return errors.New(refused.Message())
	}
}

// notFound says what to check about a reference: an id is copied, an
// identifier is typed.
func (c *client) notFound() error {
	if strings.Contains(c.customer, ":") {
		return fmt.Errorf(words[c.lang].notFoundFormat, plain(c.customer))
	}
	return fmt.Errorf(words[c.lang].idNotFoundFormat, plain(c.customer))
}

// jsonLine is a message as one line of JSON. protojson varies its spaces from
// build to build; programs that compare output should not see that.
func jsonLine(m proto.Message) ([]byte, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// printJSON prints a message as indented JSON.
func printJSON(w io.Writer, m proto.Message) error {
	line, err := jsonLine(m)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, line, "", "  "); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// parseInstant reads what a person types for an instant.
func parseInstant(flagName, s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, wrongUsage("--%s %q: an instant (2024-12-31T23:59:59Z) or a day (2024-12-31, its first instant in UTC) wanted", flagName, s)
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}
