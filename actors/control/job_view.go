package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"modelops/messages"
)

// mostJobs are in a list whose request gives no limit, and longestJobs at most: the old contract has no pages.
const mostJobs, longestJobs = 1000, 10_000

// ListJobs lists jobs, the newest first.
func (c *Control) ListJobs(ctx context.Context, r *messages.JobsRequest) (*messages.JobList, error) {
	if !knownStatus(r.Status) {
		return nil, invalid("status", fmt.Sprintf("%q is none", r.Status), "pending, running, completed, failed or cancelled, or a phase: reserved, checkpointing, preempted, paused")
	}
	if r.Host != "" && r.Host != c.o.Host && !c.isElsewhere(ctx, r.Host) {
		return nil, messages.NoMember(r.Host)
	}
	after, err := placeOf(r.PageToken)
	if err != nil {
		return nil, err
	}
	model := r.Model
	if model != "" {
		model = c.canonical(model)
	}
	may := c.mayOf(messages.CallerFrom(ctx).Principal.Scope)
	found := slices.DeleteFunc(c.o.View.Jobs(), func(v *messages.JobView) bool {
		return r.Status != "" && r.Status != v.Phase.String() && r.Status != v.Phase.Status() || r.Host != "" && v.Host != r.Host ||
			model != "" && v.Spec.Model != model || r.Goal != "" && !ofGoal(v, r.Goal) || !may(v.Spec.Model) ||
			messages.PeerFrom(ctx) != "" && v.Host != c.o.Host || r.PageToken != "" && !after.before(placeIn(v))
	})
	slices.SortFunc(found, func(a, b *messages.JobView) int {
		if placeIn(a).before(placeIn(b)) {
			return -1
		}
		return 1
	})
	out := &messages.JobList{}
	limit := int(min(cmp.Or(r.Limit, mostJobs), longestJobs))
	if len(found) > limit {
		found = found[:limit]
		out.NextPageToken = placeIn(found[limit-1]).String()
	}
	place := c.places()
	for _, v := range found {
		out.Jobs = append(out.Jobs, c.learningJob(v, place))
	}
	out.Hosts, _ = c.others(ctx)
	return out, nil
}

// mayOf tells of models whether a key is for them. It looks each one up once, because a list has thousands of jobs of a few models.
func (c *Control) mayOf(scope *messages.Scope) func(model string) bool {
	known := map[string]bool{}
	return func(model string) bool {
		may, ok := known[model]
		if !ok {
			may = scope.Has(c.model(model))
			known[model] = may
		}
		return may
	}
}

func ofGoal(v *messages.JobView, goal string) bool {
	return v.Spec.Goal == goal || strings.HasSuffix(v.Spec.Goal, "/"+strings.TrimPrefix(goal, messages.KindGoal+"/")) && v.Spec.Goal != ""
}

// jobPlace is where a job stands in a list: the newest first.
type jobPlace struct {
	ms int64
	id string
}

func placeIn(v *messages.JobView) jobPlace { return jobPlace{v.SubmittedMs, v.Id} }

func (p jobPlace) before(q jobPlace) bool { return p.ms > q.ms || p.ms == q.ms && p.id < q.id }

func (p jobPlace) String() string { return strconv.FormatInt(p.ms, 10) + "-" + p.id }

func placeOf(token string) (p jobPlace, err error) {
	if token == "" {
		return p, nil
	}
	ms, id, ok := strings.Cut(token, "-")
	if p.ms, err = strconv.ParseInt(ms, 10, 64); err != nil || !ok {
		return p, invalid("page_token", "it is none of ours", "give next_page_token of the answer before")
	}
	p.id = id
	return p, nil
}

func knownStatus(s string) bool {
	_, phase := messages.JobView_Phase_value[s]
	return s == "" || phase && s != messages.JobView_phase_unknown.String()
}

// learningJob is a job as doors show it, with its latest figures.
func (c *Control) learningJob(v *messages.JobView, place func(*messages.JobView) uint32) *messages.LearningJob {
	spec, out := v.GetSpec(), v.GetOutcome()
	j := &messages.LearningJob{JobId: v.Name, Host: v.Host, JobType: spec.GetKind().String(), ModelName: spec.GetModel(), DatasetPath: spec.GetDataset(), Status: v.Phase.Status(),
		CreatedAt: isoTime(v.SubmittedMs), Phase: v.Phase.String(), Recipe: spec.GetRecipe().GetName(), Goal: spec.GetGoal(), Class: spec.GetClass(), Step: out.GetStep(), Total: out.GetTotal(),
		Metrics: out.GetMetrics(), Checkpoint: v.Checkpoint, Attempts: v.Attempt, Preemptions: v.Preemptions, DeviceSeconds: float64(v.DeviceMs) / 1000, Reason: v.Reason,
		RetryOf: spec.GetRetryOf(), Parameters: spec.GetParameters(), Artifacts: out.GetArtifacts(), SubmittedMs: v.SubmittedMs, StartedMs: v.StartedMs, EndedMs: v.EndedMs, By: v.By,
		Window: spec.GetWindow()}
	if v.StartedMs > 0 {
		j.StartedAt = wrapperspb.String(isoTime(v.StartedMs))
	}
	if v.EndedMs > 0 {
		j.CompletedAt = wrapperspb.String(isoTime(v.EndedMs))
	}
	if text := jobError(v); text != "" {
		j.ErrorMessage = wrapperspb.String(text)
	}
	if len(out.GetArtifacts()) > 0 && v.Phase == messages.JobView_completed {
		j.ResultPath = wrapperspb.String(out.Artifacts[0].Path)
	}
	for _, s := range v.GetPlacement().GetShares() {
		j.Gpus = append(j.Gpus, s.Gpu)
	}
	c.figures(v, j)
	waiting(v, j, place)
	return j
}

// figures are how far a job is: by its last sample while it hasn't ended.
func (c *Control) figures(v *messages.JobView, j *messages.LearningJob) {
	if id, err := messages.ParseActorID(v.Id); err == nil && v.EndedMs == 0 && v.Attempt > 0 && c.o.Jobs != nil {
		if s := c.o.Jobs.Last(id); s != nil {
			j.Step, j.Total, j.Metrics = s.Step, cmp.Or(s.Total, j.Total), s.Metrics
			if v.Phase == messages.JobView_running {
				j.EtaSeconds = s.EtaSeconds
			}
		}
	}
	switch {
	case v.Phase == messages.JobView_completed:
		j.Progress = 1
	case j.Total > 0:
		j.Progress = min(float64(j.Step)/float64(j.Total), 1)
	}
}

// waiting says what a waiting job waits for, and its place among those of its host.
func waiting(v *messages.JobView, j *messages.LearningJob, place func(*messages.JobView) uint32) {
	switch {
	case v.RetryAtMs > 0:
		j.WaitsFor = "its next attempt after a failure, at " + time.UnixMilli(v.RetryAtMs).UTC().Format(time.TimeOnly) + " UTC"
	case v.Phase == messages.JobView_paused:
		j.WaitsFor = "somebody to resume it"
	case v.WaitingSinceMs > 0:
		j.WaitsFor, j.Place = "memory", place(v)
	}
}

// places tells the places of waiting jobs among those of their hosts, by priority and age. Each host's line is made once, because a list asks for many.
func (c *Control) places() func(*messages.JobView) uint32 {
	lines := map[string]map[string]uint32{}
	return func(v *messages.JobView) uint32 {
		if c.o.Seeking == nil {
			return 0
		}
		line, known := lines[v.Host]
		if !known {
			waiting := slices.DeleteFunc(c.o.Seeking(v.Host), func(j *messages.JobView) bool { return j.WaitingSinceMs == 0 || j.RetryAtMs > 0 })
			slices.SortFunc(waiting, func(a, b *messages.JobView) int {
				return cmp.Or(cmp.Compare(b.Spec.GetPriority(), a.Spec.GetPriority()), cmp.Compare(a.WaitingSinceMs, b.WaitingSinceMs), strings.Compare(a.Id, b.Id))
			})
			line = map[string]uint32{}
			for i, j := range waiting {
				line[j.Id] = uint32(i) + 1
			}
			lines[v.Host] = line
		}
		return line[v.Id]
	}
}

func jobError(v *messages.JobView) string {
	switch {
	case v.Phase == messages.JobView_cancelled:
		return cmp.Or(v.Reason, "Job cancelled by user")
	case v.Phase == messages.JobView_failed, v.RetryAtMs > 0:
		return cmp.Or(v.GetError().GetMessage(), v.GetOutcome().GetReason())
	}
	return ""
}

// isoTime is a moment as the old coordinator wrote it.
func isoTime(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000000") }

// sampleStep is how often a question for samples that waits looks for them.
const sampleStep = 100 * time.Millisecond

// ReadJobMetrics reads a job's samples, at the host that runs it.
func (c *Control) ReadJobMetrics(ctx context.Context, r *messages.JobMetricsRequest) (*messages.JobMetrics, error) {
	id, _, err := c.jobNamed(ctx, r.JobId, r.Host)
	if err != nil {
		return nil, err
	}
	if c.isElsewhere(ctx, id.Host()) {
		ctx, cancel := context.WithTimeout(ctx, min(time.Duration(r.WaitMs)*time.Millisecond, longestWait)+answerTime)
		defer cancel()
		return there[*messages.JobMetrics](ctx, c, id.Host(), "ReadJobMetrics", &messages.JobMetricsRequest{JobId: id.Name(), Host: id.Host(), After: r.After, Limit: r.Limit, WaitMs: r.WaitMs})
	}
	out := &messages.JobMetrics{JobId: id.Name(), Host: id.Host(), Next: r.After}
	if c.o.Jobs == nil {
		return out, nil
	}
	limit := int(min(cmp.Or(r.Limit, longestPage), longestPage))
	look := func() bool {
		v := c.o.View.Job(id) // before the samples: of a job that has ended, all are there
		out.Phase, out.Ended = v.GetPhase().String(), v.GetEndedMs() > 0 || v.GetDeleted()
		out.Samples, err = c.o.Jobs.Samples(id.Name(), r.After, limit)
		return err != nil || len(out.Samples) > 0 || out.Ended
	}
	if !look() {
		if err := c.await(ctx, r.WaitMs, sampleStep, look); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	if n := len(out.Samples); n > 0 {
		out.Next = out.Samples[n-1].N
		out.Ended = out.Ended && n < limit
	}
	return out, nil
}
