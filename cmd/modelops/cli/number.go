package cli

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// exactly is the largest whole number up to which every JSON reader is exact.
const exactly = 1 << 53

// shape is what is known of a JSON value by the proto files: the message, what each value of a map is, or that it is a 64-bit number.
type shape struct {
	message protoreflect.MessageDescriptor
	each    *shape
	number  bool
}

func shapeOf(f protoreflect.FieldDescriptor) shape {
	if f == nil {
		return shape{}
	}
	if f.IsMap() {
		each := shapeOf(f.MapValue())
		return shape{each: &each}
	}
	switch f.Kind() {
	case protoreflect.MessageKind:
		return shape{message: f.Message()}
	case protoreflect.Int64Kind, protoreflect.Uint64Kind, protoreflect.Sint64Kind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return shape{number: true}
	}
	return shape{}
}

// under is the shape of a key's value. The well-known types have JSON of their own.
func (s shape) under(key string) shape {
	switch {
	case s.each != nil:
		return *s.each
	case s.message == nil || strings.HasPrefix(string(s.message.FullName()), "google.protobuf."):
		return shape{}
	}
	return shapeOf(s.message.Fields().ByName(protoreflect.Name(key)))
}

// numbers writes 64-bit numbers, which protojson quotes, as numbers where every reader takes them exactly. Keys keep their order.
func numbers(b []byte, m protoreflect.MessageDescriptor) ([]byte, error) {
	in := json.NewDecoder(bytes.NewReader(b))
	in.UseNumber()
	var out bytes.Buffer
	err := rewrite(in, &out, shape{message: m})
	return out.Bytes(), err
}

func rewrite(in *json.Decoder, out *bytes.Buffer, s shape) error {
	token, err := in.Token()
	if err != nil {
		return err
	}
	switch v := token.(type) {
	case json.Delim:
		return rewriteInside(in, out, v, s)
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); s.number && err == nil && -exactly <= n && n <= exactly {
			out.WriteString(v)
			return nil
		}
	}
	return writeJSON(out, token)
}

func rewriteInside(in *json.Decoder, out *bytes.Buffer, open json.Delim, s shape) error {
	out.WriteString(open.String())
	for first := true; in.More(); first = false {
		if !first {
			out.WriteByte(',')
		}
		item := s
		if open == '{' {
			key, err := in.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if err := writeJSON(out, name); err != nil {
				return err
			}
			out.WriteByte(':')
			item = s.under(name)
		}
		if err := rewrite(in, out, item); err != nil {
			return err
		}
	}
	end, err := in.Token()
	if err == nil {
		out.WriteString(end.(json.Delim).String())
	}
	return err
}

// writeJSON writes a value without HTML's escapes, as protojson does.
func writeJSON(out *bytes.Buffer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	out.Truncate(out.Len() - 1)
	return nil
}
