//go:build e2e

package e2e_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	bits "encoding/binary"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	grpcapi "modelops/bridges/grpc"
	"modelops/messages"
)

var otherMethods = []string{"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "/modelops.ModelOps/Nothing", "/nothing", "", "/", "/a/b/c", "\x00"}

// grpc is a connection's preface and calls on it: of one message, of a stream, ended by the client or not; heads, messages, their lengths and
// the frames may be spoiled.
func (s spoiler) grpc() shot {
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	_ = f.WriteSettings()
	whole := true
	for i := range s.chance.IntN(3) + 1 {
		if !s.call(f, uint32(2*i+1)) {
			whole = false
		}
	}
	switch preface := len(http2.ClientPreface); {
	case s.one(8):
		return shot{text: append([]byte(http2.ClientPreface), s.spoil(out.Bytes()[preface:])...)}
	case s.one(20):
		return shot{text: append([]byte(http2.ClientPreface), s.bytes(300)...)}
	case s.one(20):
		return shot{text: s.spoil(out.Bytes())}
	}
	return shot{text: out.Bytes(), whole: whole}
}

// call writes the frames of one call, and tells whether the server has to end it.
func (s spoiler) call(f *http2.Framer, id uint32) (whole bool) {
	o, request, key := s.operation()
	path := "/" + messages.ModelOps_ServiceDesc.ServiceName + "/" + o.Name
	streamed := s.one(4)
	switch {
	case streamed:
		path, request = messages.ModelOps_InferStream_FullMethodName, s.message(&messages.InferenceRequest{}, 0)
	case s.one(6):
		path = pick(s, otherMethods)
	case s.one(3):
		path, request = messages.ModelOps_Infer_FullMethodName, s.message(&messages.InferenceRequest{}, 0)
	}
	fields := [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}, {"authorization", "Bearer " + key}}
	for s.one(3) {
		fields = append(fields, pick(s, [][2]string{{"grpc-timeout", "1n"}, {"grpc-timeout", "xS"}, {"grpc-timeout", "99999999H"}, {"grpc-encoding", "gzip"}, {"grpc-encoding", "nothing"}, {"content-type", "application/grpc+json"},
			{"content-type", "text/html"}, {"odd-bin", "!!"}, {"grpc-trace-bin", "AAAA"}, {"x", strings.Repeat("y", 9000)}, {"x-api-key", "\x01"}, {"user-agent", "\xff"}, {":path", "/again"}, {"connection", "close"}, {"UPPER", "x"}}))
	}
	if s.one(12) {
		at := s.chance.IntN(len(fields))
		fields[at] = pick(s, [][2]string{{":method", "GET"}, {":method", ""}, {":scheme", "\x00"}, {"te", "x"}, {"authorization", "x"}, {":nothing", "x"}})
	}
	var heads bytes.Buffer
	enc := hpack.NewEncoder(&heads)
	for _, kv := range fields {
		_ = enc.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]})
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: heads.Bytes(), EndHeaders: true})
	for n := s.chance.IntN(3); streamed && n > 0; n-- {
		_ = f.WriteData(id, false, s.frame(request))
		request = s.message(&messages.InferenceRequest{}, 0)
	}
	switch {
	case s.one(6): // the client leaves in the middle
		_ = f.WriteData(id, false, s.frame(request))
		_ = f.WriteRSTStream(id, http2.ErrCode(s.chance.IntN(16)))
		return false
	case s.one(12):
		return false // it never ends
	}
	_ = f.WriteData(id, true, s.frame(request))
	return !strings.HasSuffix(path, "/Watch")
}

// frame is a message as gRPC sends it. The message, its length and its flag may be wrong.
func (s spoiler) frame(m proto.Message) []byte {
	raw, _ := proto.Marshal(m)
	if s.one(3) {
		raw = s.spoil(raw)
	}
	flag, length := byte(0), uint32(0)
	switch {
	case s.one(10):
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(raw)
		_ = z.Close()
		raw, flag = b.Bytes(), 1
	case s.one(20):
		flag = pick(s, []byte{1, 2, 255})
	case s.one(40):
		return nil
	}
	raw = raw[:min(len(raw), 16000)] // the longest that one frame holds
	if length = uint32(len(raw)); s.one(12) {
		length = pick(s, []uint32{0, 1, length + 1, length * 2, 1 << 31, 1<<32 - 1})
	}
	return append(bits.BigEndian.AppendUint32([]byte{flag}, length), raw...)
}

// transports are INTERNAL statuses of the gRPC library itself: it answers frames that are wrong with this code before a service sees them, and the
// protocol has it for a message that says to be compressed on a stream that isn't.
var transports = []string{"grpc: ", "malformed ", "unexpected EOF", "no codec", "http2 header", "Received a HEADERS frame with :method", "no host or :authority", "number of values of", "connection header", "cardinality violation"}

// judgeGRPC reads all that the server said on a connection.
func judgeGRPC(said []byte) (code, fault string) {
	f := http2.NewFramer(io.Discard, bytes.NewReader(said))
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	code = "none"
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return code, ""
		}
		switch frame := frame.(type) {
		case *http2.GoAwayFrame:
			code = "GOAWAY"
		case *http2.RSTStreamFrame:
			code = "RST " + frame.ErrCode.String()
		case *http2.DataFrame:
			if bytes.Contains(frame.Data(), []byte("\x08INTERNAL")) { // a chunk that ends in an ErrorBody
				return "chunk", "an internal error in a chunk"
			}
		case *http2.MetaHeadersFrame:
			got := map[string]string{}
			for _, h := range frame.Fields {
				got[h.Name] = h.Value
			}
			if got["grpc-status"] == "" {
				continue
			}
			if code, fault = judgeStatus(got["grpc-status"], got["grpc-message"], got["grpc-status-details-bin"]); fault != "" {
				return code, fault + ": " + got["grpc-message"]
			}
		}
	}
}

func judgeStatus(status, message, details string) (code, fault string) {
	code = "status " + status
	raw, _ := base64.RawStdEncoding.DecodeString(strings.TrimRight(details, "="))
	for _, c := range messages.Codes() {
		if bytes.Contains(raw, append([]byte{0x0a, byte(len(c.String()))}, c.String()...)) {
			code += " " + c.String()
		}
	}
	switch {
	case strings.Contains(code, "JOURNAL_"):
		return code, "the journal is blamed"
	case strings.HasSuffix(code, " INTERNAL"), status == "2", status == "15":
		return code, "an internal error"
	case status == "13" && details == "":
		for _, prefix := range transports {
			if strings.HasPrefix(message, prefix) && !strings.Contains(message, "unmarshal") {
				return code + " of the transport: " + message[:min(len(message), 40)], ""
			}
		}
		return code, "an internal error"
	case status != "0" && message == "":
		return code, "an error without a message"
	}
	return code, ""
}

// judgeError is judgeStatus of a client's error.
func judgeError(err error) (code, fault string) {
	e := grpcapi.FromStatus(err)
	if code = e.Code.String(); e.Code == messages.Internal {
		fault = "an internal error: " + e.Error()
	}
	return code, fault
}

// endedGRPC tells whether the server ended as many calls as were begun, or the connection.
func endedGRPC(said, asked []byte) bool {
	calls := map[uint32]bool{}
	count := func(raw []byte, read func(http2.FrameHeader)) {
		f := http2.NewFramer(io.Discard, bytes.NewReader(raw))
		f.AllowIllegalReads = true
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			read(frame.Header())
		}
	}
	count(asked[len(http2.ClientPreface):], func(h http2.FrameHeader) {
		if h.Type == http2.FrameHeaders {
			calls[h.StreamID] = true
		}
	})
	away := false
	count(said, func(h http2.FrameHeader) {
		if h.Type == http2.FrameRSTStream || h.Type == http2.FrameHeaders && h.Flags.Has(http2.FlagHeadersEndStream) {
			delete(calls, h.StreamID)
		}
		away = away || h.Type == http2.FrameGoAway
	})
	return away || len(calls) == 0
}

// throw sends an input and reads until answered tells that all is said, or the daemon closes. An input that isn't whole may never be answered:
// after a moment of silence the client closes its side, and the daemon has to close the connection.
func throw(address string, in shot, answered func(said, asked []byte) bool) (said []byte, fault string) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, "the listener is dead: " + err.Error()
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(hangLimit))
	_, _ = c.Write(in.text) // the daemon may close before it has read all
	silence, closed := 60*time.Millisecond, false
	if in.whole {
		silence, closed = hangLimit, true
	}
	for buf := make([]byte, 64<<10); ; {
		_ = c.SetReadDeadline(time.Now().Add(silence))
		n, err := c.Read(buf)
		said = append(said, buf[:n]...)
		timeout, _ := err.(net.Error)
		switch {
		case in.whole && answered != nil && n > 0 && answered(said, in.text), err != nil && (timeout == nil || !timeout.Timeout()), len(said) > 1<<22:
			return said, ""
		case err != nil && closed:
			return said, "the daemon neither answers nor closes within " + hangLimit.String()
		case err != nil:
			_ = c.(*net.TCPConn).CloseWrite()
			silence, closed = hangLimit, true
		}
	}
}
