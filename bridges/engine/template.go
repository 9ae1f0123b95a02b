package engine

import (
	"errors"
	"fmt"
	"strings"
)

// chatML is used when a model file brings no template, as llama-server does.
const chatML = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}" +
	"{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

const (
	maxTemplateSteps  = 1 << 18  // nodes evaluated in one rendering
	maxTemplateOutput = 16 << 20 // bytes
	maxTemplateDepth  = 100      // nesting of tags and of expressions
)

// chatTemplate is a parsed chat template: the part of Jinja that the common model families use (for, if, set, namespace,
// string and list operations), evaluated with bounds. What it does not know is an error when it is parsed.
type chatTemplate struct{ body []node }

type (
	node func(*scope) error
	expr func(*scope) (any, error)
)

// undefined is the value of a name that was never set. It prints as nothing and counts as false.
type undefined struct{}

var errBreak, errContinue = errors.New("break outside a loop"), errors.New("continue outside a loop")

// scope holds the variables of one rendering. Loops open a child scope; assignments in it end with the loop.
type scope struct {
	vars   map[string]any
	parent *scope
	run    *rendering
}

type rendering struct {
	out   strings.Builder
	steps int
}

func (s *scope) get(name string) any {
	for ; s != nil; s = s.parent {
		if v, ok := s.vars[name]; ok {
			return v
		}
	}
	return undefined{}
}

// step is paid for each node and each turn of a loop, so that no template runs for ever.
func (s *scope) step() error {
	if s.run.steps++; s.run.steps > maxTemplateSteps {
		return errors.New("the template takes too many steps")
	}
	if s.run.out.Len() > maxTemplateOutput {
		return errors.New("the template's output is too long")
	}
	return nil
}

func parseTemplate(text string) (*chatTemplate, error) {
	items, err := lexTemplate(text)
	if err != nil {
		return nil, err
	}
	p := &templateParser{items: items}
	body, err := p.block()
	if err != nil {
		return nil, err
	}
	if p.at < len(p.items) {
		return nil, fmt.Errorf("{%% %s %%} without its beginning", p.items[p.at].text())
	}
	return &chatTemplate{body}, nil
}

// render evaluates the template.
func (t *chatTemplate) render(vars map[string]any) (string, error) {
	s := &scope{vars: vars, run: &rendering{}}
	if err := runAll(s, t.body); err != nil {
		return "", err
	}
	return s.run.out.String(), nil
}

func runAll(s *scope, body []node) error {
	for _, n := range body {
		if err := s.step(); err != nil {
			return err
		}
		if err := n(s); err != nil {
			return err
		}
	}
	return nil
}

// templateParser turns items into nodes.
type templateParser struct {
	items []templateItem
	at    int
	depth int
}

// block parses until a tag that it does not know, which its caller must expect, or the end.
func (p *templateParser) block() ([]node, error) {
	if p.depth++; p.depth > maxTemplateDepth {
		return nil, errors.New("the template is nested too deeply")
	}
	defer func() { p.depth-- }()
	var body []node
	for p.at < len(p.items) {
		item := p.items[p.at]
		var n node
		var err error
		switch {
		case item.kind == itemText:
			n = func(s *scope) error { s.run.out.WriteString(item.raw); return nil }
		case item.kind == itemPrint:
			n, err = printNode(item)
		default:
			switch item.text() {
			case "endfor", "endif", "else", "elif", "endset", "endgeneration":
				return body, nil
			}
			n, err = p.tag(item)
		}
		if err != nil {
			return nil, err
		}
		body = append(body, n)
		p.at++
	}
	return body, nil
}

func printNode(item templateItem) (node, error) {
	e, err := item.expression(0)
	if err != nil {
		return nil, err
	}
	return func(s *scope) error {
		v, err := e(s)
		if err == nil {
			s.run.out.WriteString(asText(v))
		}
		return err
	}, nil
}

// tag parses a whole statement; afterwards p.at is on its last item.
func (p *templateParser) tag(item templateItem) (node, error) {
	switch item.text() {
	case "for":
		return p.forTag(item)
	case "if":
		return p.ifTag(item)
	case "set":
		return setTag(item)
	case "break":
		return func(*scope) error { return errBreak }, nil
	case "continue":
		return func(*scope) error { return errContinue }, nil
	case "generation":
		p.at++
		body, err := p.block()
		if err == nil {
			err = p.expect("endgeneration")
		}
		return func(s *scope) error { return runAll(s, body) }, err
	}
	return nil, fmt.Errorf("{%% %s %%} is not supported", item.text())
}

func (p *templateParser) expect(tag string) error {
	if p.at >= len(p.items) || p.items[p.at].text() != tag {
		return fmt.Errorf("{%% %s %%} is missing", tag)
	}
	return nil
}

func (p *templateParser) ifTag(item templateItem) (node, error) {
	cond, err := item.expression(1)
	if err != nil {
		return nil, err
	}
	p.at++
	then, err := p.block()
	if err != nil {
		return nil, err
	}
	if p.at >= len(p.items) {
		return nil, errors.New("{% endif %} is missing")
	}
	var otherwise []node
	switch next := p.items[p.at]; next.text() {
	case "elif":
		n, err := p.ifTag(next)
		if err != nil {
			return nil, err
		}
		otherwise = []node{n}
	case "else":
		p.at++
		if otherwise, err = p.block(); err != nil {
			return nil, err
		}
		err = p.expect("endif")
	default:
		err = p.expect("endif")
	}
	return func(s *scope) error {
		v, err := cond(s)
		if err != nil {
			return err
		}
		if truthy(v) {
			return runAll(s, then)
		}
		return runAll(s, otherwise)
	}, err
}

func (p *templateParser) forTag(item templateItem) (node, error) {
	w := item.words
	if len(w) < 4 || w[1].kind != wordName || w[2].text != "in" {
		return nil, errors.New("only {% for name in list %} is supported")
	}
	list, err := item.expression(3)
	if err != nil {
		return nil, err
	}
	p.at++
	body, err := p.block()
	if err != nil {
		return nil, err
	}
	name := w[1].text
	return func(s *scope) error {
		v, err := list(s)
		if err != nil {
			return err
		}
		items, ok := v.([]any)
		if !ok {
			return fmt.Errorf("can't loop over %s", kindOf(v))
		}
		return loop(s, name, items, body)
	}, p.expect("endfor")
}

func loop(s *scope, name string, items []any, body []node) error {
	for i, item := range items {
		if err := s.step(); err != nil {
			return err
		}
		inner := &scope{parent: s, run: s.run, vars: map[string]any{name: item, "loop": map[string]any{
			"index": float64(i + 1), "index0": float64(i), "first": i == 0, "last": i == len(items)-1, "length": float64(len(items))}}}
		switch err := runAll(inner, body); err {
		case nil, errContinue:
		case errBreak:
			return nil
		default:
			return err
		}
	}
	return nil
}

func setTag(item templateItem) (node, error) {
	w := item.words
	member := len(w) > 5 && w[2].text == "." && w[4].text == "="
	if !member && (len(w) < 4 || w[2].text != "=") || w[1].kind != wordName {
		return nil, errors.New("only {% set name = value %} and {% set namespace.name = value %} are supported")
	}
	start, name := 3, w[1].text
	if member {
		start = 5
	}
	e, err := item.expression(start)
	if err != nil {
		return nil, err
	}
	return func(s *scope) error {
		v, err := e(s)
		if err != nil || !member {
			s.vars[name] = v
			return err
		}
		space, ok := s.get(name).(map[string]any)
		if !ok {
			return fmt.Errorf("%s is not a namespace", name)
		}
		space[w[3].text] = v
		return nil
	}, nil
}
