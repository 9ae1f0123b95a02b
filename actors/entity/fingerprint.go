package entity

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"reflect"
)

// Fingerprint identifies the shape of a state: names and types of all fields that JSON sees, down to the leaves.
func Fingerprint[S any]() string {
	h := sha256.New()
	shape(h, reflect.TypeFor[S](), map[reflect.Type]bool{})
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func shape(w io.Writer, t reflect.Type, seen map[reflect.Type]bool) {
	fmt.Fprintf(w, "%s{", t.Kind())
	defer fmt.Fprint(w, "}")
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		shape(w, t.Elem(), seen)
	case reflect.Map:
		shape(w, t.Key(), seen)
		shape(w, t.Elem(), seen)
	case reflect.Struct:
		if seen[t] {
			fmt.Fprint(w, t.String())
			return
		}
		seen[t] = true
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() {
				fmt.Fprintf(w, "%s:%s:", f.Name, f.Tag.Get("json"))
				shape(w, f.Type, seen)
			}
		}
	}
}
