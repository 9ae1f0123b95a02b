package telemetry

import (
	"fmt"
	"strings"
)

// Markdown is docs/metrics.md: the catalogue as people read it.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\n")
	b.WriteString("Generated from `bridges/telemetry/catalogue.go`; a test compares. Change the table, then run\n")
	b.WriteString("`go test ./bridges/telemetry -update`.\n\n")
	b.WriteString("`GET /metrics` gives them in Prometheus' formats, with Go's and the process's own (`go_*`, `process_*`). A model that\n")
	b.WriteString("is not declared is counted as `_unknown`; a path is the route's pattern.\n")
	for _, section := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n| name | type | labels | meaning |\n| --- | --- | --- | --- |\n", section.title)
		for _, m := range section.metrics {
			labels := "–"
			if len(m.labels) > 0 {
				labels = "`" + strings.Join(m.labels, "`, `") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, labels, m.help)
		}
	}
	return b.String()
}
