package telemetry

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"modelops/messages"
)

// page is what a scrape would show: the values of the metrics by their labels.
func page(t *rapid.T, m *Metrics) map[string]map[string]float64 {
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]float64{}
	for _, f := range families {
		series := map[string]float64{}
		for _, one := range f.Metric {
			var labels []string
			for _, l := range one.Label {
				labels = append(labels, l.GetValue())
			}
			value := one.GetGauge().GetValue() + one.GetCounter().GetValue()
			if h := one.Histogram; h != nil {
				value = float64(h.GetSampleCount()) + h.GetSampleSum()
			}
			series[strings.Join(labels, " ")] = value
		}
		out[f.GetName()] = series
	}
	return out
}

var (
	modelNames = []string{"a", "b", "c", "alias", "made-up"}
	sameAs     = regexp.MustCompile(`^Same as (\w+)`)
)

// someViews draws the declared models; "alias" is an alias, or a model's own name.
func someViews(t *rapid.T) []*messages.ModelView {
	var out []*messages.ModelView
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(modelNames[:4]), 0, 4, rapid.ID).Draw(t, "models") {
		out = append(out, &messages.ModelView{Name: name, Spec: &messages.ModelSpec{Aliases: []string{"alias"}},
			Phase:  messages.ModelView_Phase(rapid.IntRange(1, len(messages.ModelView_Phase_name)-1).Draw(t, "phase")),
			Active: rapid.Uint32Range(0, 5).Draw(t, "active"), Queued: rapid.Uint32Range(0, 5).Draw(t, "queued"), MeasuredBytes: rapid.Uint64Range(0, 5).Draw(t, "bytes"),
			Breaker: messages.ModelView_Breaker(rapid.IntRange(0, 2).Draw(t, "breaker"))})
	}
	return out
}

func someDevices(t *rapid.T) []*messages.GpuView {
	var out []*messages.GpuView
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"gpu0", "gpu1"}), 0, 2, rapid.ID).Draw(t, "devices") {
		out = append(out, &messages.GpuView{Id: "gpu/h/" + name, Host: "h", Device: name, CapacityBytes: 9,
			Reading: &messages.DeviceReading{UsedBytes: rapid.Uint64Range(0, 9).Draw(t, "used"), UtilizationPct: rapid.Uint32Range(0, 100).Draw(t, "busy")}})
	}
	return out
}

// Whatever happens: what is counted never goes back while its model is there; a level is that of a declared model or of a device that is there; callers can't make series;
// and a metric that is called the same as another one is.
func TestCountersGrowAndLevelsFollow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New("v", "h")
		var models []*messages.ModelView
		var devices []*messages.GpuView
		before := page(t, m)
		check := func(t *rapid.T) {
			now := page(t, m)
			for _, section := range sections {
				for _, metric := range section.metrics {
					checkSeries(t, metric, before[metric.name], now[metric.name], models, devices)
					if twin := sameAs.FindStringSubmatch(metric.help); twin != nil && !maps.Equal(now[metric.name], now[twin[1]]) {
						t.Fatalf("%s is %v, %s is %v", metric.name, now[metric.name], twin[1], now[twin[1]])
					}
				}
			}
			before = now
		}
		name, some := rapid.SampledFrom(modelNames), rapid.Map(rapid.IntRange(0, 5), func(n int) time.Duration { return time.Duration(n) * time.Second })
		t.Repeat(map[string]func(*rapid.T){
			"":        check,
			"models":  func(t *rapid.T) { models = someViews(t); m.SetModelStates(models) },
			"devices": func(t *rapid.T) { devices = someDevices(t); m.SetGPUs(devices) },
			"request": func(t *rapid.T) {
				code := rapid.SampledFrom([]string{"200", "304", "429", "499", "500", "OK", "CANCELLED", "BULKHEAD_REJECTION"}).Draw(t, "code")
				m.ObserveRequest(name.Draw(t, "model"), code, "normal", some.Draw(t, "took"))
			},
			"load": func(t *rapid.T) {
				m.ObserveLoad(name.Draw(t, "model"), rapid.SampledFrom([]string{"success", "INTERNAL"}).Draw(t, "result"), some.Draw(t, "took"))
			},
			"unload": func(t *rapid.T) { m.ObserveUnload(name.Draw(t, "model"), "success") },
			"tokens": func(t *rapid.T) {
				m.ObserveTokens(name.Draw(t, "model"), rapid.IntRange(-1, 5).Draw(t, "tokens"))
			},
			"events": func(t *rapid.T) { m.EventsAppended(rapid.IntRange(-1, 5).Draw(t, "events")) },
			"queue": func(t *rapid.T) {
				if len(models) > 0 {
					v := rapid.SampledFrom(models).Draw(t, "model")
					v.Queued = rapid.Uint32Range(0, 5).Draw(t, "waiting")
					m.SetQueueDepth(v.Name, int(v.Queued))
				}
			},
			"http": func(t *rapid.T) {
				m.HTTPRequest(rapid.SampledFrom([]string{"GET", "BREW"}).Draw(t, "method"), "", "404")
			},
		})
	})
}

// ofGone tells whether a series is that of a model that isn't there.
func ofGone(series string, models []*messages.ModelView) bool {
	return slices.ContainsFunc(strings.Fields(series), func(word string) bool {
		return slices.Contains(modelNames, word) && !slices.ContainsFunc(models, func(v *messages.ModelView) bool { return v.Name == word })
	})
}

// checkSeries compares a metric with what was there before, and its levels with what there is now.
func checkSeries(t *rapid.T, m metric, before, now map[string]float64, models []*messages.ModelView, devices []*messages.GpuView) {
	if m.kind != gauge {
		for series, was := range before {
			if is, ok := now[series]; (!ok || is < was) && !ofGone(series, models) {
				t.Fatalf("%s{%s} went from %v to %v", m.name, series, was, is)
			}
		}
		for series := range now {
			if strings.Contains(series, "made-up") || strings.Contains(series, "BREW") || ofGone(series, models) {
				t.Fatalf("a caller made %s{%s}", m.name, series)
			}
		}
		return
	}
	var want []string
	switch {
	case slices.Contains(m.labels, "gpu"):
		for _, v := range devices {
			want = append(want, v.Device)
		}
	case slices.ContainsFunc(m.labels, func(l string) bool { return l == "model" || l == "model_name" || l == "operation" }):
		for _, v := range models {
			want = append(want, v.Name)
		}
	default:
		return
	}
	var got []string
	for series := range now {
		name, state, _ := strings.Cut(series, " ")
		if !slices.Contains(got, name) {
			got = append(got, name)
		}
		if i := slices.IndexFunc(models, func(v *messages.ModelView) bool { return v.Name == name }); m.name == "modelops_model_state" && i >= 0 {
			if is := models[i].Phase.String() == state; is != (now[series] == 1) {
				t.Fatalf("%s is %s, and %s{%s} is %v", name, models[i].Phase, m.name, series, now[series])
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%s shows %v, there are %v", m.name, got, want)
	}
}
