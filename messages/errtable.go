package messages

// Wire is how one code looks on every protocol.
type Wire struct {
	Name   string // stable name; the NATS error description and the ZMQ code
	GRPC   uint32 // google.golang.org/grpc/codes number
	HTTP   int    // status; also the Nats-Service-Error-Code
	OpenAI string // error.type in an OpenAI error body
	ZMQ    string // status word of a ZMQ reply
}

// errorTable is the one place that decides what a failure looks like outside. A test ranges over all codes.
var errorTable = map[Code]Wire{
	Internal:           {"INTERNAL", 13, 500, "server_error", "error"},
	InvalidArgument:    {"INVALID_ARGUMENT", 3, 400, "invalid_request_error", "error"},
	ModelNotFound:      {"MODEL_NOT_FOUND", 5, 404, "invalid_request_error", "error"},
	ModelLoadError:     {"MODEL_LOAD_ERROR", 14, 503, "server_error", "error"},
	ModelUnloadError:   {"MODEL_UNLOAD_ERROR", 13, 500, "server_error", "error"},
	GPUUnavailable:     {"GPU_UNAVAILABLE", 8, 507, "server_error", "error"},
	InferenceError:     {"INFERENCE_ERROR", 13, 502, "server_error", "error"},
	CircuitBreakerOpen: {"CIRCUIT_BREAKER_OPEN", 14, 503, "server_error", "error"},
	BulkheadRejection:  {"BULKHEAD_REJECTION", 8, 429, "rate_limit_error", "error"},
	DeadlineExceeded:   {"DEADLINE_EXCEEDED", 4, 504, "timeout_error", "error"},
	Cancelled:          {"CANCELLED", 1, 499, "cancelled", "error"},
	JobError:           {"JOB_FAILED", 10, 500, "server_error", "error"},
	NotFound:           {"NOT_FOUND", 5, 404, "invalid_request_error", "error"},
	Conflict:           {"CONFLICT", 10, 409, "conflict_error", "error"},
	JournalUnavailable: {"JOURNAL_UNAVAILABLE", 14, 503, "server_error", "error"},
	JournalFull:        {"JOURNAL_FULL", 8, 507, "server_error", "error"},
	JournalDamaged:     {"JOURNAL_DAMAGED", 15, 500, "server_error", "error"},
	PayloadTooLarge:    {"PAYLOAD_TOO_LARGE", 3, 413, "invalid_request_error", "error"},
	Unavailable:        {"UNAVAILABLE", 14, 503, "server_error", "error"},
	Unsupported:        {"UNSUPPORTED", 12, 501, "not_supported_error", "error"},
	FailedPrecondition: {"FAILED_PRECONDITION", 9, 409, "invalid_request_error", "error"},
	ContextTooLong:     {"CONTEXT_TOO_LONG", 3, 400, "exceed_context_size_error", "error"},
	PermissionDenied:   {"PERMISSION_DENIED", 7, 403, "permission_error", "error"},
	Unauthenticated:    {"UNAUTHENTICATED", 16, 401, "authentication_error", "error"},
}

// Wire looks the code up; a code without a row is shown as Internal.
func (c Code) Wire() Wire {
	if w, ok := errorTable[c]; ok {
		return w
	}
	return errorTable[Internal]
}

func (c Code) String() string { return c.Wire().Name }

// ParseCode is the inverse of String; unknown names are Internal.
func ParseCode(name string) Code {
	for c, w := range errorTable {
		if w.Name == name {
			return c
		}
	}
	return Internal
}

// Codes lists every code in the table, for tests that want each to be decided.
func Codes() []Code {
	out := make([]Code, 0, len(errorTable))
	for c := Internal; int(c) <= len(errorTable); c++ {
		out = append(out, c)
	}
	return out
}
