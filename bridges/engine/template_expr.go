package engine

import (
	"errors"
	"fmt"
)

// expression parses the words of an item from the n-th on.
func (i templateItem) expression(n int) (expr, error) {
	p := &exprParser{words: i.words[min(n, len(i.words)):]}
	e, err := p.ternary()
	if err != nil {
		return nil, err
	}
	if p.at < len(p.words) {
		return nil, fmt.Errorf("%q is not understood here", p.words[p.at].text)
	}
	return e, nil
}

// exprParser is a recursive descent over one expression: ternary > or > and > not > comparison > sum > product > unary >
// filters and tests > postfix > atom.
type exprParser struct {
	words []word
	at    int
	depth int
}

func (p *exprParser) peek() word {
	if p.at < len(p.words) {
		return p.words[p.at]
	}
	return word{kind: -1, text: "end of the tag"}
}

// take steps over the next word if it is this name or sign (never a string that reads the same).
func (p *exprParser) take(text string) bool {
	w := p.peek()
	if w.text != text || w.kind != wordName && w.kind != wordSign {
		return false
	}
	p.at++
	return true
}

func (p *exprParser) must(text string) error {
	if !p.take(text) {
		return fmt.Errorf("%q expected, found %q", text, p.peek().text)
	}
	return nil
}

func (p *exprParser) ternary() (expr, error) {
	if p.depth++; p.depth > maxTemplateDepth {
		return nil, errors.New("an expression is nested too deeply")
	}
	defer func() { p.depth-- }()
	then, err := p.binary(0)
	if err != nil || !p.take("if") {
		return then, err
	}
	cond, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	otherwise := expr(func(*scope) (any, error) { return undefined{}, nil })
	if p.take("else") {
		if otherwise, err = p.ternary(); err != nil {
			return nil, err
		}
	}
	return func(s *scope) (any, error) {
		v, err := cond(s)
		if err != nil {
			return nil, err
		}
		if truthy(v) {
			return then(s)
		}
		return otherwise(s)
	}, nil
}

// levels lists the binary operators from the loosest to the tightest.
var levels = [...][]string{{"or"}, {"and"}, {"==", "!=", "<", ">", "<=", ">=", "in", "not"}, {"+", "-", "~"}, {"*", "/", "//", "%"}}

func (p *exprParser) binary(level int) (expr, error) {
	if level == 2 && p.take("not") {
		if p.depth++; p.depth > maxTemplateDepth {
			return nil, errors.New("an expression is nested too deeply")
		}
		defer func() { p.depth-- }()
		e, err := p.binary(2)
		return func(s *scope) (any, error) {
			v, err := e(s)
			return !truthy(v), err
		}, err
	}
	if level == len(levels) {
		return p.unary()
	}
	left, err := p.binary(level + 1)
	for err == nil {
		op, ok := p.operator(level)
		if !ok {
			return left, nil
		}
		var right expr
		if right, err = p.binary(level + 1); err == nil {
			left = combine(op, left, right)
		}
	}
	return nil, err
}

func (p *exprParser) operator(level int) (string, bool) {
	for _, op := range levels[level] {
		if op == "not" {
			if p.at+1 < len(p.words) && p.words[p.at+1].text == "in" && p.take("not") {
				p.at++
				return "not in", true
			}
			continue
		}
		if p.take(op) {
			return op, true
		}
	}
	return "", false
}

func combine(op string, left, right expr) expr {
	return func(s *scope) (any, error) {
		if err := s.step(); err != nil {
			return nil, err
		}
		a, err := left(s)
		if err != nil {
			return nil, err
		}
		if op == "and" && !truthy(a) || op == "or" && truthy(a) {
			return a, nil
		}
		b, err := right(s)
		if err != nil || op == "and" || op == "or" {
			return b, err
		}
		return bounded(operate(op, a, b))
	}
}

// bounded stops a template that doubles a value again and again.
func bounded(v any, err error) (any, error) {
	text, _ := v.(string)
	list, _ := v.([]any)
	if err == nil && (len(text) > maxTemplateOutput || len(list) > maxTemplateSteps) {
		return nil, errors.New("a value of the template grows too large")
	}
	return v, err
}

func (p *exprParser) unary() (expr, error) {
	negative := p.take("-")
	e, err := p.atom()
	for err == nil {
		switch {
		case p.take("."):
			e, err = p.member(e)
		case p.take("["):
			e, err = p.subscript(e)
		case p.take("|"):
			e, err = p.filter(e)
		case p.take("is"):
			e, err = p.test(e)
		default:
			if !negative {
				return e, nil
			}
			return func(s *scope) (any, error) {
				v, err := e(s)
				n, ok := v.(float64)
				if err == nil && !ok {
					err = fmt.Errorf("can't negate %s", kindOf(v))
				}
				return -n, err
			}, nil
		}
	}
	return nil, err
}

func (p *exprParser) atom() (expr, error) {
	w := p.peek()
	p.at++
	switch w.kind {
	case wordString:
		return constant(w.text), nil
	case wordNumber:
		return constant(w.number), nil
	case wordName:
		return p.name(w.text)
	}
	switch w.text {
	case "(":
		e, err := p.ternary()
		if err == nil {
			err = p.must(")")
		}
		return e, err
	case "[":
		items, _, err := p.arguments("]")
		return func(s *scope) (any, error) {
			list, err := evalAll(s, items)
			return list, err
		}, err
	}
	return nil, fmt.Errorf("a value expected, found %q", w.text)
}

func constant(v any) expr { return func(*scope) (any, error) { return v, nil } }

func (p *exprParser) name(name string) (expr, error) {
	switch name {
	case "true", "True":
		return constant(true), nil
	case "false", "False":
		return constant(false), nil
	case "none", "None":
		return constant(nil), nil
	}
	if !p.take("(") {
		return func(s *scope) (any, error) { return s.get(name), nil }, nil
	}
	args, named, err := p.arguments(")")
	if err != nil {
		return nil, err
	}
	switch name {
	case "raise_exception":
		return func(s *scope) (any, error) {
			v, err := evalAll(s, args)
			if err == nil {
				err = &templateRefusal{text: joinText(v)}
			}
			return nil, err
		}, nil
	case "namespace":
		return func(s *scope) (any, error) { return evalNamed(s, named) }, nil
	}
	return nil, fmt.Errorf("function %s() is not supported", name)
}

// templateRefusal is what a template raises itself, about the messages it was given.
type templateRefusal struct{ text string }

func (e *templateRefusal) Error() string { return e.text }

// arguments parses values, positional and named, up to the closing sign.
func (p *exprParser) arguments(closing string) (args []expr, named map[string]expr, err error) {
	named = map[string]expr{}
	for !p.take(closing) {
		name := ""
		if p.at+1 < len(p.words) && p.peek().kind == wordName && p.words[p.at+1].text == "=" && p.words[p.at+1].kind == wordSign {
			name = p.peek().text
			p.at += 2
		}
		e, err := p.ternary()
		if err != nil {
			return nil, nil, err
		}
		if name != "" {
			named[name] = e
		} else {
			args = append(args, e)
		}
		if !p.take(",") && p.peek().text != closing {
			return nil, nil, fmt.Errorf("%q expected, found %q", closing, p.peek().text)
		}
	}
	return args, named, nil
}

func evalAll(s *scope, list []expr) ([]any, error) {
	out := make([]any, 0, len(list))
	for _, e := range list {
		v, err := e(s)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func evalNamed(s *scope, named map[string]expr) (map[string]any, error) {
	out := map[string]any{}
	for k, e := range named {
		v, err := e(s)
		if err != nil {
			return nil, err
		}
		out[k] = v
	}
	return out, nil
}

// apply evaluates a receiver and arguments and hands them to f.
func apply(receiver expr, args []expr, f func(v any, args []any) (any, error)) expr {
	return func(s *scope) (any, error) {
		if err := s.step(); err != nil {
			return nil, err
		}
		v, err := receiver(s)
		if err != nil {
			return nil, err
		}
		list, err := evalAll(s, args)
		if err != nil {
			return nil, err
		}
		return f(v, list)
	}
}

func (p *exprParser) member(e expr) (expr, error) {
	name := p.peek().text
	if p.peek().kind != wordName {
		return nil, fmt.Errorf("a name expected after the dot, found %q", name)
	}
	p.at++
	if !p.take("(") {
		return apply(e, nil, func(v any, _ []any) (any, error) { return attribute(v, name) }), nil
	}
	args, _, err := p.arguments(")")
	f, known := methods[name]
	if err == nil && !known {
		err = fmt.Errorf("method %s() is not supported", name)
	}
	return apply(e, args, f), err
}

func (p *exprParser) subscript(e expr) (expr, error) {
	absent := constant(undefined{})
	bound := func(end string) (expr, error) {
		if w := p.peek(); w.kind == wordSign && (w.text == ":" || w.text == end) {
			return absent, nil
		}
		return p.ternary()
	}
	from, err := bound(":")
	if err != nil {
		return nil, err
	}
	if !p.take(":") {
		return apply(e, []expr{from}, func(v any, a []any) (any, error) { return index(v, a[0]) }), p.must("]")
	}
	to, err := bound("]")
	if err != nil {
		return nil, err
	}
	return apply(e, []expr{from, to}, slice), p.must("]")
}

func (p *exprParser) filter(e expr) (expr, error) {
	name := p.peek().text
	p.at++
	var args []expr
	var err error
	if p.take("(") {
		args, _, err = p.arguments(")")
	}
	f, known := filters[name]
	if err == nil && !known {
		err = fmt.Errorf("filter %q is not supported", name)
	}
	return apply(e, args, f), err
}

func (p *exprParser) test(e expr) (expr, error) {
	negative := p.take("not")
	name := p.peek().text
	p.at++
	f, known := tests[name]
	if !known {
		return nil, fmt.Errorf("test %q is not supported", name)
	}
	return apply(e, nil, func(v any, _ []any) (any, error) { return f(v) != negative, nil }), nil
}
