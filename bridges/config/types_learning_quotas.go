package config

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// JobQuotas bound what jobs use, by the goals that they serve and the keys that submitted them. Beyond its quota a job borrows what nobody else needs.
type JobQuotas struct {
	Goals   map[string]JobQuota `yaml:"goals" jsonschema_description:"Quotas of goals, by their names."`
	Keys    map[string]JobQuota `yaml:"keys" jsonschema_description:"Quotas of callers, by the names of their API keys."`
	Default JobQuota            `yaml:"default" jsonschema_description:"The quota of each goal and each key that has none of its own."`
}

// JobQuota is what the jobs of one goal, or of one key, may use.
type JobQuota struct {
	Devices  int    `yaml:"devices" jsonschema:"minimum=0,maximum=10000" jsonschema_description:"Devices at once. 0 is no bound."`
	GPUHours int    `yaml:"gpu_hours" jsonschema:"minimum=0,maximum=10000000" jsonschema_description:"Hours on one device within per. 0 is no bound."`
	Per      string `yaml:"per" jsonschema:"enum=day,enum=week,enum=month" jsonschema_description:"The time that ends now in which the hours are counted: 24 hours, 7 days or 30."`
}

func (q *JobQuota) setDefaults() { *q = JobQuota{Per: "week"} }

// Period is the time in which the hours of a quota are counted.
func (q JobQuota) Period() time.Duration {
	switch q.Per {
	case "day":
		return 24 * time.Hour
	case "month":
		return 30 * 24 * time.Hour
	}
	return 7 * 24 * time.Hour
}

// quotas checks that quotas of keys are of keys that there are.
func (k *checker) quotas() {
	for _, name := range slices.Sorted(maps.Keys(k.Learning.Quotas.Keys)) {
		if !slices.ContainsFunc(k.Keys, func(key Key) bool { return key.Name == name }) {
			k.wrong([]string{"learning", "quotas", "keys", name}, fmt.Sprintf("there is no key %q", clip(name)), "the name of an entry of keys")
		}
	}
}
