package config

import (
	"encoding/json"
	"reflect"
	"time"

	"github.com/invopop/jsonschema"

	"modelops/messages"
)

// variableText is the form of a value that a variable fills in, which an editor must not call a wrong type.
const variableText = `\$\{`

// Schema is the JSON schema of the file, for editors. Load checks more than it can say.
func Schema() []byte {
	r := jsonschema.Reflector{
		FieldNameTag: "yaml", ExpandedStruct: true, Anonymous: true, RequiredFromJSONSchemaTags: true,
		Mapper: durationSchema,
	}
	root := r.Reflect(&Config{})
	root.Title = "ModelOps Coordinator configuration"
	defaultsInto(root, reflect.ValueOf(defaults()))
	for _, part := range parts(reflect.ValueOf(defaults())) {
		if def := root.Definitions[part.Type().Name()]; def != nil {
			defaultsInto(def, part)
			loosened(def)
		}
	}
	loosened(root)
	addHosts(root)
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("config: the schema always has a JSON form: " + err.Error())
	}
	return append(text, '\n')
}

func durationSchema(t reflect.Type) *jsonschema.Schema {
	if t != durationType {
		return nil
	}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Type: "number"},
		{Type: "string", Pattern: `^-?([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|` + variableText},
	}}
}

// parts lists the default value of every section and of every entry that repeats.
func parts(v reflect.Value) []reflect.Value {
	var all []reflect.Value
	for _, f := range fieldsOf(v.Type()) {
		if f.Type.Kind() == reflect.Struct {
			fv := v.FieldByIndex(f.Index)
			all = append(append(all, fv), parts(fv)...)
		}
	}
	if v.Type() == reflect.TypeFor[Config]() {
		for _, d := range []defaulter{&Model{}, &Preload{}, &Device{}, &Key{}, &Recipe{}, &JobQuota{}} {
			d.setDefaults()
			all = append(all, reflect.ValueOf(d).Elem())
		}
	}
	return all
}

// defaultsInto writes down the defaults, the second spellings and the limits of durations.
func defaultsInto(s *jsonschema.Schema, v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		prop, ok := s.Properties.Get(f.Tag.Get("yaml"))
		if !ok || prop.Ref != "" {
			continue
		}
		for _, word := range wordsOf(f.Tag.Get("words")) {
			prop.Enum = append(prop.Enum, word)
		}
		switch val := v.FieldByIndex(f.Index).Interface().(type) {
		case time.Duration:
			prop.Default = short(val)
			prop.Description += " A number is seconds; from " + f.Tag.Get("min") + " to " + f.Tag.Get("max") + "."
		case string, bool, int, float64, []string:
			prop.Default = val
		}
		if ruleOf(f.Tag).single {
			prop.AnyOf = []*jsonschema.Schema{{Type: prop.Type, Items: prop.Items}, {Type: "string"}}
			prop.Type, prop.Items = "", nil
		}
		if alias := f.Tag.Get("alias"); alias != "" {
			s.Properties.Set(alias, &jsonschema.Schema{Type: prop.Type, Description: "The same as " + f.Tag.Get("yaml") + "."})
		}
	}
}

// loosened lets ${VAR:default} stand where a number, a bool or one of a few words is expected.
func loosened(s *jsonschema.Schema) {
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		prop := p.Value
		if prop.Type != "integer" && prop.Type != "number" && prop.Type != "boolean" && len(prop.Enum) == 0 && prop.Pattern == "" {
			continue
		}
		strict := *prop
		strict.Description, strict.Default = "", nil
		p.Value = &jsonschema.Schema{
			Description: prop.Description, Default: prop.Default,
			AnyOf: []*jsonschema.Schema{&strict, {Type: "string", Pattern: variableText}},
		}
	}
}

// addHosts adds hosts.<name> with every section, and the x- keys that hold anchors.
func addHosts(root *jsonschema.Schema) {
	override := &jsonschema.Schema{
		Type: "object", Description: "What differs on this host.",
		Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema,
	}
	for p := root.Properties.Oldest(); p != nil; p = p.Next() {
		if p.Key != "host" {
			override.Properties.Set(p.Key, p.Value)
		}
	}
	root.Definitions["Override"] = override
	root.Properties.Set("hosts", &jsonschema.Schema{
		Type: "object", Description: "Sections that differ on one host, by its name.",
		PatternProperties:    map[string]*jsonschema.Schema{messages.PlainName.String(): {Ref: "#/$defs/Override"}},
		AdditionalProperties: jsonschema.FalseSchema,
	})
	root.PatternProperties = map[string]*jsonschema.Schema{"^x-": jsonschema.TrueSchema}
}
