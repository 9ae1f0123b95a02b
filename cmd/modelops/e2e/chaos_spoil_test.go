//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"modelops/messages"
)

// spoiler makes inputs that are nearly right. Each input has a spoiler of its own, so it can be made again without those before it.
type spoiler struct {
	chance        *rand.Rand
	key, operator string // of a caller who may operate, and of one who may do everything
}

func spoilerOf(seed uint64, door string, i int) spoiler {
	h := fnv.New64a()
	_, _ = h.Write([]byte(door))
	return spoiler{chance: rand.New(rand.NewPCG(seed, h.Sum64()+uint64(i)))}
}

// one tells true in one of n cases.
func (s spoiler) one(n int) bool { return s.chance.IntN(n) == 0 }

func pick[T any](s spoiler, of []T) T { return of[s.chance.IntN(len(of))] }

func (s spoiler) bytes(most int) []byte {
	out := make([]byte, s.chance.IntN(most)+1)
	for i := range out {
		out[i] = byte(s.chance.Uint32())
	}
	return out
}

// spoil flips, cuts, doubles or inserts bytes.
func (s spoiler) spoil(in []byte) []byte {
	out := bytes.Clone(in)
	for range s.chance.IntN(4) + 1 {
		at := s.chance.IntN(len(out) + 1)
		switch s.chance.IntN(6) {
		case 0:
			out = out[:at]
		case 1:
			out = append(out[:at:at], append(s.bytes(8), out[at:]...)...)
		case 2:
			out = append(out, out[at:]...)
		case 3:
			out = append(out[:at:at], append([]byte(pick(s, oddTexts)), out[at:]...)...)
		default:
			if at < len(out) {
				out[at] = byte(s.chance.Uint32())
			}
		}
	}
	return out
}

// oddTexts are names that are nearly right, and texts that something else reads in its own way.
var oddTexts = []string{
	"light", "a", "big", "v1", "chat", "nap", "gpu/main_pc/gpu0", "model/main_pc/a", "host/main_pc", "arbiter/main_pc", "model/other/a", "model//", "model/main_pc/", "",
	" ", "/", "..", "../../etc/passwd", "a/b/c/d", "*", ">", "a.b", "a b", "\x00", "\xff\xfe", "\u202e\u2028", "ä", "😀", "${HOME}", "${secret.0}", "%s%n%d", "%2e%2e%2f", "'; --", "<script>",
	"null", "true", "-1", "0", "1e999", "NaN", "18446744073709551616", "2026-99-99", "-5s", "PT5M", "EnsureModel", "UnloadModel", "ReserveVram", "RegisterDevice", "SwapModel",
	"infer", "admin", strings.Repeat("x", 300), strings.Repeat("long/", 2000), strings.Repeat("[", 20000),
}

// message fills a message with values that are right, odd or at an edge. Some fields stay empty.
func (s spoiler) message(m proto.Message, depth int) proto.Message {
	r := m.ProtoReflect()
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case s.one(3), depth > 3:
		case f.IsMap():
			if f.MapKey().Kind() == protoreflect.StringKind && f.MapValue().Message() == nil {
				r.Mutable(f).Map().Set(protoreflect.ValueOfString(strings.ToValidUTF8(pick(s, oddTexts), "?")).MapKey(), s.value(f.MapValue()))
			}
		case f.IsList():
			for range s.chance.IntN(4) {
				l := r.Mutable(f).List()
				if f.Message() != nil {
					s.message(l.AppendMutable().Message().Interface(), depth+1)
				} else {
					l.Append(s.value(f))
				}
			}
		case f.Message() != nil:
			s.message(r.Mutable(f).Message().Interface(), depth+1)
		default:
			r.Set(f, s.value(f))
		}
	}
	return m
}

func (s spoiler) value(f protoreflect.FieldDescriptor) protoreflect.Value {
	whole := pick(s, []int64{0, 1, 7, 100, -1, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64})
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(strings.ToValidUTF8(pick(s, oddTexts), "?"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(s.bytes(20))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(s.one(2))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(int32(whole)))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(pick(s, []float32{0, 1, -1, 1e38, float32(math.NaN()), float32(math.Inf(-1))}))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(pick(s, []float64{0, 1, -1, 1e300, math.NaN(), math.Inf(1)}))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(whole))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(whole))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(whole))
	}
	return protoreflect.ValueOfInt64(whole)
}

// operation is one of the table, with a filled request. The commands and the keys of an admin could do harm that no input may do.
func (s spoiler) operation() (o messages.Operation, request proto.Message, key string) {
	o, key = pick(s, messages.OperationTable()), s.operator
	if o.Name == "SendCommand" || s.one(3) {
		key = s.key
	}
	return o, s.message(o.Request(), 0), key
}

// asJSON is a message as JSON, with a field of another type or spoiled bytes now and then.
func (s spoiler) asJSON(m proto.Message) []byte {
	raw, err := protojson.MarshalOptions{UseProtoNames: s.one(2)}.Marshal(m)
	var fields map[string]any
	if err != nil || json.Unmarshal(raw, &fields) != nil {
		return []byte(pick(s, jsonBodies))
	}
	switch s.chance.IntN(4) {
	case 0:
		fields[pick(s, []string{"model_name", "modelName", "actor", "body", "request_id", "ttl_seconds", "nothing", ""})] = pick(s, []any{nil, true, -1.5, "x", []any{1, "a", nil}, object{"a": object{"b": 1}}, json.Number("1e400")})
	case 1:
		return s.spoil(raw)
	case 2:
		return []byte(pick(s, jsonBodies))
	}
	if raw, err = json.Marshal(fields); err != nil {
		return []byte("{")
	}
	return raw
}

// jsonBodies are bodies for engines and operations: right ones, and ones of a wrong shape.
var jsonBodies = []string{
	`{"model":"light","messages":[{"role":"user","content":"hello"}],"stream":true}`, `{"model":"light","prompt":["a","b"],"max_tokens":9}`,
	`{"model":"tiny","messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url"}]}],"max_tokens":-5,"temperature":"hot","stop":[[]]}`,
	`{"model":"tiny","prompt":[1,-2,99999999,1.5],"max_tokens":3,"logit_bias":{"x":"y"},"n":1000}`, `{"model":"tiny","input":[[],{},"",null]}`,
	`{"model":"tiny","messages":[{"role":7,"content":null},null,"x"],"stream":"yes","stream_options":[]}`, `{"model":"tiny","messages":"x","max_tokens":1e99}`,
	`{"model":"light","input":"text"}`, `{"model":{"a":[[[[]]]]},"messages":1e999}`, `{"model_name":"light"}`, `{"request_id":"x","holder":"client/x","vram_mb":1}`,
	`{"model":"light","model":"tiny","messages":[]}`, `{"model":"","messages":[]}`, `{"model":"\ud800","prompt":"\u0000"}`, `{"model":"model/main_pc/tiny","prompt":"x","keep_alive":"-9z"}`,
	`{"actor":"gpu/main_pc/gpu0","command":"ReserveVram","body":{"lease":"x","holder":"client/x","bytes":"1"}}`, `{"actor":"model/main_pc/a","command":"EnsureModel","body":{"spec":{"cmd":"x"}}}`,
	strings.Repeat("[", 20000), strings.Repeat(`{"a":`, 5000), "\xef\xbb\xbf{}", "null", "", "[]", `"`, "{}", "{}{}", "\x00",
}
