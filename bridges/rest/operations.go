package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	routes "modelops/bridges/rest/routes"
	"modelops/messages"
)

// operations serves the pages that the service's http rules name. Its methods are matched twice: by a table that answers nothing, to know
// whether and how a path is taken, and by the one that runs the operation.
type operations struct {
	runs    *runtime.ServeMux
	matches *runtime.ServeMux
}

// service is what the generated routes call. Inference has no http rule: it is the inference API's.
type service struct {
	messages.Operations
	withoutInference
}

type withoutInference struct {
	messages.UnimplementedModelOpsServer
}

var inJSON = runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}}

func newOperations(o Options) (*operations, error) {
	out := &operations{
		runs: runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, &inJSON), runtime.WithErrorHandler(refuse), runtime.WithMiddlewares(prepare),
			runtime.WithDisablePathLengthFallback(), runtime.WithDisableHTTPMethodOverride(), runtime.WithWriteContentLength()),
		matches: runtime.NewServeMux(runtime.WithMiddlewares(match), runtime.WithDisablePathLengthFallback(), runtime.WithDisableHTTPMethodOverride()),
	}
	server := service{Operations: checked(o)}
	return out, errors.Join(routes.RegisterModelOpsHandlerServer(context.Background(), out.runs, server), routes.RegisterModelOpsHandlerServer(context.Background(), out.matches, server))
}

// checked lets callers run the operations that their role allows.
func checked(o Options) messages.Operations {
	return messages.Through(func(ctx context.Context, op messages.Operation, request proto.Message) (proto.Message, error) {
		key, _ := ctx.Value(keyOf{}).(string)
		principal, err := o.Authenticate.Authorize(op, key)
		if err != nil {
			return nil, err
		}
		id := uuid.NewString()
		ctx = messages.WithMeta(ctx, messages.Meta{Correlation: id, Caller: principal.Fingerprint})
		return op.Call(messages.WithCaller(ctx, messages.Caller{Principal: principal, RequestID: id}), o.Operations, request)
	})
}

// keyOf is the context's key of the caller's API key.
type keyOf struct{}

// bodyBytes bounds a request's body: commands are short.
const bodyBytes = 1 << 20

// prepare reads the body, which may be empty, and notes the pattern under which the request is counted.
func prepare(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		if pattern, ok := runtime.HTTPPattern(r.Context()); ok {
			notePattern(w, pattern.String())
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytes))
		switch tooLong := new(http.MaxBytesError); {
		case errors.As(err, &tooLong):
			writeTyped(w, messages.Errorf(messages.PayloadTooLarge, r.URL.Path, "the body is longer than %d bytes", bodyBytes))
			return
		case err != nil:
			writeTyped(w, messages.Errorf(messages.InvalidArgument, r.URL.Path, "the body can't be read: %w", err))
			return
		case len(bytes.TrimSpace(body)) > 0 && !json.Valid(body):
			writeTyped(w, messages.NewError(messages.InvalidArgument, "body", "it is not JSON"))
			return
		}
		if err := contradicts(body, params); err != nil {
			writeTyped(w, err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.Header().Set("Cache-Control", "no-store")
		key := messages.KeyIn(r.Header.Get("Authorization"), cmp.Or(r.Header.Get("X-Api-Key"), r.Header.Get("Api-Key")))
		next(w, r.WithContext(context.WithValue(r.Context(), keyOf{}, key)), params)
	}
}

// contradicts refuses a name in the path that isn't the one in the body: the routes drop the body's, and the operation would be for another
// model than its caller may mean.
func contradicts(body []byte, params map[string]string) *messages.Error {
	var fields map[string]any
	_ = json.Unmarshal(body, &fields) // the route says what is wrong with it
	for field, inPath := range params {
		for spelling, value := range fields {
			inBody, _ := value.(string)
			same := strings.EqualFold(strings.ReplaceAll(spelling, "_", ""), strings.ReplaceAll(field, "_", ""))
			if same && inBody != "" && inBody != inPath {
				return messages.Errorf(messages.InvalidArgument, field, "the path names %q, the body %q", inPath, inBody).WithHint("name it once")
			}
		}
	}
	return nil
}

// refuse answers with an operation's error, or with what is wrong with the request.
func refuse(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	typed := new(messages.Error)
	if !errors.As(err, &typed) { // the routes' own errors are about the query or the body
		part := "body"
		if r.Method == http.MethodGet {
			part = "query"
		}
		method, _ := runtime.RPCMethod(ctx)
		what := status.Convert(err).Message()
		if o, ok := messages.OperationNamed(path.Base(method)); ok {
			typed = messages.Misread(part, o.Request(), what)
		} else {
			typed = messages.NewError(messages.InvalidArgument, r.URL.Path, what)
		}
	}
	writeTyped(w, typed)
}

// matched is an answer that goes nowhere and tells whether a route took the request.
type matched struct {
	http.ResponseWriter
	taken bool
}

func (m *matched) Header() http.Header         { return http.Header{} }
func (m *matched) Write(b []byte) (int, error) { return len(b), nil }
func (m *matched) WriteHeader(int)             {}

func match(runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request, _ map[string]string) { w.(*matched).taken = true }
}

// methods are those that a path takes; none when the path is no operation's.
func (o *operations) methods(r *http.Request) (out []string) {
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		seen := &matched{}
		o.matches.ServeHTTP(seen, &http.Request{Method: m, URL: r.URL})
		if seen.taken {
			out = append(out, m)
			if m == http.MethodGet {
				out = append(out, http.MethodHead)
			}
		}
	}
	return out
}

// serve answers a request whose path is an operation's, and tells whether it is.
func (o *operations) serve(w http.ResponseWriter, r *http.Request) bool {
	if strings.HasPrefix(r.URL.Path, inferenceRoot) {
		return false // the way of most requests
	}
	r = verbFirst(r)
	allowed := o.methods(r)
	switch {
	case len(allowed) == 0:
		return false
	case !slices.Contains(allowed, r.Method):
		refuseMethod(w, r, allowed...)
	default:
		if r.Method == http.MethodHead {
			r = r.Clone(r.Context())
			r.Method = http.MethodGet
		}
		o.runs.ServeHTTP(w, r)
	}
	return true
}

const inferenceRoot, swapsRoot = "/v1/", "/api/swaps/"

// verbFirst turns swaps/NAME/promote into swaps/promote/NAME, which has an http rule: a name may hold slashes, and rules can't end them.
func verbFirst(r *http.Request) *http.Request {
	rest, ok := strings.CutPrefix(r.URL.Path, swapsRoot)
	if !ok {
		return r
	}
	for _, verb := range []string{"promote", "rollback"} {
		if name, ok := strings.CutSuffix(rest, "/"+verb); ok && name != "" {
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = swapsRoot+verb+"/"+name, ""
			return r
		}
	}
	return r
}
