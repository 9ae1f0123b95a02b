package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/google/uuid"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	routes "modelops/bridges/rest/routes"
	"modelops/messages"
)

// operations serves the pages that the service's http rules name.
type operations struct {
	routes *runtime.ServeMux
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
		routes: runtime.NewServeMux(runtime.WithMarshalerOption(runtime.MIMEWildcard, &inJSON), runtime.WithErrorHandler(refuse), runtime.WithRoutingErrorHandler(noRoute),
			runtime.WithMiddlewares(prepare(o.Authenticate, newRules())), runtime.WithDisablePathLengthFallback(), runtime.WithDisableHTTPMethodOverride(), runtime.WithWriteContentLength()),
	}
	return out, routes.RegisterModelOpsHandlerServer(context.Background(), out.routes, service{Operations: checked(o)})
}

// checked lets callers run the operations that their role allows.
func checked(o Options) messages.Operations {
	return messages.Through(func(ctx context.Context, op messages.Operation, request proto.Message) (proto.Message, error) {
		principal, known := ctx.Value(principalOf{}).(messages.Principal)
		if !known {
			return nil, messages.NewError(messages.Internal, op.Name, "nobody looked who asks")
		}
		if err := principal.Allows(op, messages.Model{}); err != nil {
			return nil, err
		}
		if asked, ok := ctx.Value(queryOf{}).(query); ok {
			if err := asked.unknown(request); err != nil {
				return nil, err
			}
		}
		id := uuid.NewString()
		ctx = messages.WithMeta(ctx, messages.Meta{Correlation: id, Caller: principal.Fingerprint})
		host, _ := ctx.Value(ofHost{}).(string)
		return op.Call(messages.WithCaller(ctx, messages.Caller{Principal: principal, RequestID: id, Only: messages.Only{Host: host}}), o.Operations, request)
	})
}

// principalOf is the context's key of the caller, ofHost that of the host that is asked.
type (
	principalOf struct{}
	ofHost      struct{}
)

// hostField of a query names the host that is asked, as messages.HostHeader does.
const hostField = "host"

// bodyBytes bounds a request's body: commands are short.
const bodyBytes = 1 << 20

// prepare finds the caller, reads the body, which may be empty, and notes the pattern under which the request is counted. The body of a caller
// without the role isn't read.
func prepare(who messages.Authenticate, rules rules) func(runtime.HandlerFunc) runtime.HandlerFunc {
	return func(next runtime.HandlerFunc) runtime.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
			prepared(who, rules, next, w, r, params)
		}
	}
}

func prepared(who messages.Authenticate, rules rules, next runtime.HandlerFunc, w http.ResponseWriter, r *http.Request, params map[string]string) {
	if of, ok := r.Context().Value(matchOf{}).(*match); ok && of.only {
		return
	}
	pattern, _ := runtime.HTTPPattern(r.Context())
	notePattern(w, pattern.String())
	principal, err := who.Of(r.Context(), messages.CredentialsIn(r.Header, r.RemoteAddr))
	if err == nil {
		err = rules.may(principal, r.Method, pattern.String())
	}
	if err != nil {
		refused(w, r, messages.AsError(err))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytes))
	switch tooLong := new(http.MaxBytesError); {
	case errors.As(err, &tooLong):
		refused(w, r, messages.Errorf(messages.PayloadTooLarge, r.URL.Path, "the body is longer than %d bytes", bodyBytes))
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		refused(w, r, messages.NewError(messages.DeadlineExceeded, r.URL.Path, "the body stopped arriving").WithHint("server.limits.body_stall and body_time bound its silence and its time"))
		return
	case err != nil:
		refused(w, r, messages.Errorf(messages.InvalidArgument, r.URL.Path, "the body can't be read: %w", err))
		return
	case len(bytes.TrimSpace(body)) > 0 && !json.Valid(body):
		refused(w, r, messages.NewError(messages.InvalidArgument, "body", "it is not JSON"))
		return
	}
	if err := contradicts(body, r.URL.Query(), params); err != nil {
		refused(w, r, err)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.Header().Set("Cache-Control", "no-store")
	ctx := context.WithValue(context.WithValue(r.Context(), principalOf{}, principal), ofHost{}, cmp.Or(r.URL.Query().Get(hostField), r.Header.Get(messages.HostHeader)))
	if r.URL.RawQuery != "" {
		ctx = context.WithValue(ctx, queryOf{}, query{fields: r.URL.Query(), inBody: r.Method == http.MethodPost})
	}
	next(w, r.WithContext(ctx), params)
}

// contradicts refuses a name in the path that isn't the one in the body or in the query: the routes drop these, and the operation would be for
// another model than its caller may mean.
func contradicts(body []byte, query url.Values, params map[string]string) *messages.Error {
	var fields map[string]any
	_ = json.Unmarshal(body, &fields) // the route says what is wrong with it
	same := func(spelling, field string) bool {
		return strings.EqualFold(strings.ReplaceAll(spelling, "_", ""), strings.ReplaceAll(field, "_", ""))
	}
	for field, inPath := range params {
		for spelling, values := range query {
			for _, inQuery := range values {
				if same(spelling, field) && inQuery != inPath {
					return messages.Errorf(messages.InvalidArgument, field, "the path names %q, the query %q", inPath, inQuery).WithHint("name it once")
				}
			}
		}
		for spelling, value := range fields {
			inBody, _ := value.(string)
			if same(spelling, field) && inBody != "" && inBody != inPath {
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
	refused(w, r, typed)
}

// refused answers with an error. Callers of the old coordinator's paths read it from detail, in its words alone.
func refused(w http.ResponseWriter, r *http.Request, err *messages.Error) {
	if strings.HasPrefix(r.URL.Path, "/learning/") || r.URL.Path == "/goals" || strings.HasPrefix(r.URL.Path, "/goals/") {
		writeErrorWith(w, err.Code.Wire().HTTP, err, map[string]any{"detail": err.Message})
		return
	}
	writeTyped(w, err)
}

// match is what the routes found for a request. It travels in the request's context, because the routes answer a request that they don't take
// through a callback (noRoute).
type match struct {
	only   bool // only look, and run nothing
	status int  // why no route takes the request: 404, or 405 when its path has other methods; 0 = one takes it
}

// matchOf is the context's key of a match.
type matchOf struct{}

// noRoute writes nothing: serve knows what to do.
func noRoute(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, _ http.ResponseWriter, _ *http.Request, status int) {
	if of, ok := ctx.Value(matchOf{}).(*match); ok {
		of.status = status
	}
}

// route runs a request's operation, or with only set just looks for it, and says why there is none.
func (o *operations) route(w http.ResponseWriter, r *http.Request, method string, only bool) (status int) {
	of := &match{only: only}
	r = r.WithContext(context.WithValue(r.Context(), matchOf{}, of))
	r.Method = method
	o.routes.ServeHTTP(w, r)
	return of.status
}

// methods are those that a path takes.
func (o *operations) methods(w http.ResponseWriter, r *http.Request) (out []string) {
	if o.route(w, r, http.MethodGet, true) == 0 {
		out = append(out, http.MethodGet, http.MethodHead)
	}
	if o.route(w, r, http.MethodPost, true) == 0 {
		out = append(out, http.MethodPost)
	}
	return out
}

// has tells whether a request's path and method are an operation's.
func (o *operations) has(r *http.Request) bool {
	if strings.HasPrefix(r.URL.Path, inferenceRoot) {
		return false
	}
	return o.route(nowhere{}, verbFirst(r), r.Method, true) == 0
}

// nowhere takes the answer of a request that isn't run.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}

// serve answers a request whose path is an operation's, and tells whether it is.
func (o *operations) serve(w http.ResponseWriter, r *http.Request) bool {
	if strings.HasPrefix(r.URL.Path, inferenceRoot) {
		return false // the way of most requests
	}
	r = verbFirst(r)
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	switch o.route(w, r, method, false) {
	case 0:
		return true
	case http.StatusMethodNotAllowed:
		refuseMethod(w, r, o.methods(w, r)...)
		return true
	}
	return false
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
