package query

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

// Paths are the prefixes that the handler of [New] serves.
var Paths = []string{
	"/" + queryv1connect.QueryServiceName + "/",
	"/grpc.reflection.v1.ServerReflection/",
	"/grpc.reflection.v1alpha.ServerReflection/",
}

// New returns the handler of the query service and of gRPC reflection, to be
// mounted at [Paths]. gRPC clients need a server that speaks HTTP/2 without
// TLS; all else works over HTTP/1.1.
func New(o Options) http.Handler {
	shared := bounded(o.Logger)
	reflector := grpcreflect.NewStaticReflector(queryv1connect.QueryServiceName, queryv1connect.IdentityServiceName)
	mux := http.NewServeMux()
	path, methods := queryv1connect.NewQueryServiceHandler(newService(o), HandlerOptions(o.Logger)...)
	mux.Handle(path, KnownMethods(path, queryv1.File_dossier_query_v1_query_proto.Services().ByName("QueryService"), paced(methods)))
	mux.Handle(grpcreflect.NewHandlerV1(reflector, shared...))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector, shared...))
	return CrossOrigin(o.CORSOrigins, Guard(o.ReadKeys, mux))
}

// HandlerOptions are those of every service behind this door: bounded requests,
// JSON without unknown fields, errors in the codes of the wire. Interceptors
// stand before the methods; their errors are told in these codes too.
func HandlerOptions(logger *slog.Logger, interceptors ...connect.Interceptor) []connect.HandlerOption {
	return append(bounded(logger),
		connect.WithInterceptors(append([]connect.Interceptor{coder{logger}}, interceptors...)...),
		connect.WithCodec(strictJSON{name: "json"}),
		connect.WithCodec(strictJSON{name: "json; charset=utf-8"}),
	)
}

func bounded(logger *slog.Logger) []connect.HandlerOption {
	return []connect.HandlerOption{connect.WithReadMaxBytes(MaxRequestBytes), connect.WithRecover(recoverer(logger))}
}

// KnownMethods lets calls of a service's methods through. Any other is told
// which there are, in the form of its protocol: the generated handler would
// answer plain text, which a client cannot tell from that of some other server.
func KnownMethods(path string, service protoreflect.ServiceDescriptor, methods http.Handler) http.Handler {
	names := methodNames(service)
	writer := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, path)
		if slices.Contains(names, name) {
			methods.ServeHTTP(w, r)
			return
		}
		text := fmt.Sprintf("no method %.60q; there are %s", name, strings.Join(names, ", "))
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			// As in Guard: nobody misses an answer of a few bytes.
			_ = writer.Write(w, r, connect.NewError(connect.CodeUnimplemented, errors.New(text)))
			return
		}
		answerUnimplemented(w, text)
	})
}

func methodNames(service protoreflect.ServiceDescriptor) []string {
	all := service.Methods()
	names := make([]string, all.Len())
	for i := range names {
		names[i] = string(all.Get(i).Name())
	}
	return names
}

// answerUnimplemented writes an error as the Connect protocol does, save for
// the status: what is not there is 404 to whoever reads no body.
func answerUnimplemented(w http.ResponseWriter, text string) {
	body, err := json.Marshal(map[string]string{"code": connect.CodeUnimplemented.String(), "message": text})
	if err != nil {
		panic("not reached: a map of strings is always JSON")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	// As in Guard: nobody misses an answer of a few bytes.
	_, _ = w.Write(body)
}

func recoverer(logger *slog.Logger) func(context.Context, connect.Spec, http.Header, any) error {
	return func(ctx context.Context, spec connect.Spec, _ http.Header, value any) error {
		logger.ErrorContext(ctx, "query panicked", "procedure", spec.Procedure, "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
		return connect.NewError(connect.CodeInternal, errors.New("internal error; the server's log has the cause"))
	}
}

// strictJSON is connect's JSON with one difference: a field that this version
// does not have is refused. Dropped silently, an `asOf` of a later version
// would be answered with today's profile.
type strictJSON struct{ name string }

func (c strictJSON) Name() string { return c.name }

func (c strictJSON) Marshal(message any) ([]byte, error) {
	m, err := asProto(message)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(m)
}

func (c strictJSON) Unmarshal(data []byte, message any) error {
	m, err := asProto(message)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return errors.New("zero-length payload is not a valid JSON object")
	}
	return protojson.Unmarshal(data, m)
}

func asProto(message any) (proto.Message, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	return m, nil
}

// Guard lets through who presents one of the keys as `Authorization: Bearer`;
// all others get 401 in the form of their protocol. No keys: no guard.
func Guard(keys []string, next http.Handler) http.Handler {
	if len(keys) == 0 {
		return next
	}
	sums := make([][sha256.Size]byte, len(keys))
	for i, key := range keys {
		sums[i] = sha256.Sum256([]byte(key))
	}
	writer := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if bearsOneOf(r, sums) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		text := "a read key is needed: Authorization: Bearer <key>"
		if r.Header.Get("Authorization") != "" {
			text = "this read key is not accepted; a valid one is needed: Authorization: Bearer <key>"
		}
		refused := connect.NewError(connect.CodeUnauthenticated, errors.New(text))
		if writer.IsSupported(r) {
			// The answer is a few bytes; a client gone by now does not miss it.
			_ = writer.Write(w, r, refused)
			return
		}
		http.Error(w, refused.Message(), http.StatusUnauthorized)
	})
}

// bearsOneOf compares sums, which are of one length, so that the time taken
// tells nothing about a key.
func bearsOneOf(r *http.Request, sums [][sha256.Size]byte) bool {
	scheme, key, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	told := sha256.Sum256([]byte(strings.TrimSpace(key)))
	match := 0
	for _, sum := range sums {
		match |= subtle.ConstantTimeCompare(told[:], sum[:])
	}
	return match == 1
}

// CrossOrigin lets pages of the named origins read answers. Preflights come
// without a key, so this stands before the guard.
func CrossOrigin(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin == "" || !slices.Contains(origins, origin) && !slices.Contains(origins, "*") {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin")
		if r.Method != http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
		h.Set("Access-Control-Max-Age", "7200")
		w.WriteHeader(http.StatusNoContent)
	})
}
