package engine

import "fmt"

// metaReader takes typed values out of a GGUF header and remembers the first one that is missing or of another type.
type metaReader struct {
	meta map[string]any
	err  error
}

func lookup[T any](m *metaReader, key string, fallback *T) T {
	v, ok := m.meta[key]
	if !ok && fallback != nil {
		return *fallback
	}
	t, fits := v.(T)
	if !fits && m.err == nil {
		if ok {
			m.err = fmt.Errorf("metadata %s is a %T, want a %T", key, v, t)
		} else {
			m.err = fmt.Errorf("metadata %s is missing", key)
		}
	}
	return t
}

func (m *metaReader) need(key string) int64             { return lookup[int64](m, key, nil) }
func (m *metaReader) integer(key string, d int64) int64 { return lookup(m, key, &d) }
func (m *metaReader) str(key, d string) string          { return lookup(m, key, &d) }
func (m *metaReader) boolean(key string, d bool) bool   { return lookup(m, key, &d) }

// float also takes an integer: some writers store round numbers so.
func (m *metaReader) float(key string, d float64) float64 {
	if n, ok := m.meta[key].(int64); ok {
		return float64(n)
	}
	return lookup(m, key, &d)
}

// size reads a count that must lie in 1..limit.
func (m *metaReader) size(key string, value, limit int64) int {
	if m.err == nil && (value < 1 || value > limit) {
		m.err = fmt.Errorf("metadata %s is %d, want 1 to %d", key, value, limit)
	}
	if m.err != nil {
		return 0
	}
	return int(value)
}
