package natsapi

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

func (a *API) list(ctx context.Context, c *call) error {
	return c.reply(a.Control.List(ctx))
}

func (a *API) load(ctx context.Context, c *call) (err error) {
	r := &messages.ModelLoadRequest{}
	if err := c.command(r); err != nil {
		return err
	}
	if r.ModelName, err = c.nameOf("model_name", r.ModelName); err != nil {
		return err
	}
	if r.Shards < 0 {
		return invalid("shards", "it is negative", "leave it out for one shard")
	}
	c.model = r.ModelName
	return c.reply(a.Control.Load(ctx, r))
}

func (a *API) unload(ctx context.Context, c *call) (err error) {
	r := &messages.ModelUnloadRequest{}
	if err := c.command(r); err != nil {
		return err
	}
	if r.ModelName, err = c.nameOf("model_name", r.ModelName); err != nil {
		return err
	}
	c.model = r.ModelName
	return c.reply(a.Control.Unload(ctx, r))
}

// command reads a body that may be empty when the subject says all.
func (c *call) command(m proto.Message) error {
	if c.rest != "" && len(bytes.TrimSpace(c.data)) == 0 {
		return nil
	}
	return parse(c.data, m)
}

func (a *API) status(ctx context.Context, c *call) error {
	return c.reply(a.Control.Status(ctx))
}

// ps shows the models that hold or seek a device, as the gateway sees them now.
func (a *API) ps(_ context.Context, c *call) error {
	out := struct {
		Models []json.RawMessage `json:"models"`
	}{[]json.RawMessage{}}
	for _, m := range a.Gateway.Models() {
		if m.Phase == messages.ModelView_phase_unknown || m.Phase == messages.ModelView_absent {
			continue
		}
		view, err := shown.Marshal(m)
		if err != nil {
			return messages.Errorf(messages.Internal, m.Id, "its view can't be written as JSON: %w", err)
		}
		out.Models = append(out.Models, view)
	}
	return c.answerJSON(out, nats.Header{})
}

func (a *API) queue(ctx context.Context, c *call) error {
	return c.reply(a.Control.Queue(ctx))
}

func (a *API) state(ctx context.Context, c *call) error {
	var q struct {
		Actor string `json:"actor"`
	}
	if err := parseJSON(c.data, &q, `{"actor": "model/main_pc/tiny"}`); err != nil {
		return err
	}
	actor, err := messages.ParseActorID(q.Actor)
	if err != nil {
		return err
	}
	return c.reply(a.Control.State(ctx, actor))
}

// why takes its subject from the body or from the end of the NATS subject.
func (a *API) why(ctx context.Context, c *call) (err error) {
	r := &messages.WhyRequest{}
	if err := c.command(r); err != nil {
		return err
	}
	if r.Subject, err = c.nameOf("subject", r.Subject); err != nil {
		return err
	}
	return c.reply(a.Control.Why(ctx, r))
}

func (a *API) send(ctx context.Context, c *call) error {
	const example = `{"actor": "model/main_pc/tiny", "command": "EnsureModel", "body": {}}`
	var q struct {
		Actor   string          `json:"actor"`
		Command string          `json:"command"`
		Body    json.RawMessage `json:"body"`
	}
	if err := parseJSON(c.data, &q, example); err != nil {
		return err
	}
	actor, err := messages.ParseActorID(q.Actor)
	if err != nil {
		return err
	}
	if q.Command == "" {
		return invalid("command", "it is empty", "send "+example)
	}
	if len(q.Body) == 0 {
		q.Body = json.RawMessage("{}")
	}
	sent, err := a.Control.Send(ctx, actor, q.Command, q.Body)
	if err != nil {
		return err
	}
	if sent.Events == nil {
		sent.Events = []messages.SentEvent{}
	}
	return c.answerJSON(sent, nats.Header{})
}

// applyConfig makes the configuration's file rule; an empty body means that it is not a rehearsal.
func (a *API) applyConfig(ctx context.Context, c *call) error {
	q := struct {
		DryRun bool `json:"dry_run"`
	}{}
	if len(bytes.TrimSpace(c.data)) > 0 {
		if err := parseJSON(c.data, &q, `{"dry_run": true}`); err != nil {
			return err
		}
	}
	return c.reply(a.Control.ApplyConfig(ctx, q.DryRun))
}

// health answers with the facts in any case; ill health is also an error in the headers, for those who read nothing else.
func (a *API) health(_ context.Context, c *call) error {
	h := a.Gateway.Health()
	headers := nats.Header{}
	if !h.OK {
		wire := messages.Unavailable.Wire()
		headers.Set(micro.ErrorHeader, wire.Name)
		headers.Set(micro.ErrorCodeHeader, "503")
	}
	return c.answerJSON(struct {
		OK              bool     `json:"ok"`
		OldestUndecided int64    `json:"oldest_undecided_ms"`
		JournalLag      uint64   `json:"journal_lag"`
		Reasons         []string `json:"reasons,omitempty"`
	}{h.OK, h.OldestUndecided.Milliseconds(), h.JournalLag, h.Reasons}, headers)
}

func (a *API) version(_ context.Context, c *call) error {
	return c.answerJSON(map[string]string{"version": a.Version, "host": a.Host}, nats.Header{})
}

// reply sends what a question brought.
func (c *call) reply(m proto.Message, err error) error {
	if err != nil {
		return err
	}
	return c.answer(m)
}
