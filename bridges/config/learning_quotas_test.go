package config

import (
	"strings"
	"testing"
	"time"
)

func TestQuotasOfJobs(t *testing.T) {
	c := load(t, "keys: [{name: ann, key: canary-ann}]\nlearning: {inversion: preempt, evict_idle_models: false, quotas: {goals: {answers: {devices: 2}}, keys: {ann: {gpu_hours: 8, per: day}}, default: {devices: 1}}}", "")
	l := c.Learning
	if l.Inversion != "preempt" || l.EvictIdleModels || l.Quotas.Goals["answers"] != (JobQuota{Devices: 2, Per: "week"}) || l.Quotas.Keys["ann"] != (JobQuota{GPUHours: 8, Per: "day"}) ||
		l.Quotas.Default != (JobQuota{Devices: 1, Per: "week"}) {
		t.Errorf("%+v", l)
	}
	for per, want := range map[string]time.Duration{"day": 24 * time.Hour, "week": 7 * 24 * time.Hour, "month": 30 * 24 * time.Hour} {
		if got := (JobQuota{Per: per}).Period(); got != want {
			t.Errorf("%s: %s", per, got)
		}
	}
	bare := load(t, "", "").Learning
	if bare.Inversion != "report" || !bare.EvictIdleModels || bare.Quotas.Default != (JobQuota{Per: "week"}) {
		t.Errorf("without a line: %+v", bare)
	}
}

func TestWrongQuotasAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"learning: {quotas: {keys: {bob: {devices: 1}}}}":     `learning.quotas.keys.bob: there is no key "bob"`,
		"learning: {quotas: {goals: {a: {devices: -1}}}}":     "out of range",
		"learning: {quotas: {goals: {a: {gpu_hours: many}}}}": "a whole number",
		"learning: {quotas: {default: {per: year}}}":          `is "year"`,
		"learning: {inversion: kill}":                         `is "kill"`,
		"learning: {quotas: {goals: {a: {devises: 1}}}}":      "devises",
		"learning: {quotas: [1]}":                             "is a list",
	} {
		_, err := Load(write(t, text), nil, "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
