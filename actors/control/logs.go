package control

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"modelops/messages"
)

const (
	defaultLines = 100
	logStep      = 100 * time.Millisecond
	answerTime   = 5 * time.Second // of another host, beside the wait that it was asked for
)

// ReadLog reads the log of a model's latest worker, at the host that ran it: each host keeps those of its own workers.
func (c *Control) ReadLog(ctx context.Context, r *messages.LogRequest) (*messages.LogPage, error) {
	if r.ModelName == "" {
		return nil, invalid("model_name", "it is empty", listModels)
	}
	if r.Host != "" && r.Host != c.o.Host && !c.isElsewhere(ctx, r.Host) {
		return nil, messages.NoMember(r.Host)
	}
	id, known := c.modelAt(ctx, r.ModelName, r.Host)
	if !known {
		if job, _, err := c.jobNamed(ctx, r.ModelName, r.Host); err == nil || strings.HasPrefix(r.ModelName, messages.KindJob+"/") {
			return c.jobLog(ctx, job, r, err)
		}
	}
	if !known { // not declared any more, or not here
		id = messages.ModelActor(cmp.Or(r.Host, c.o.Host), c.canonical(r.ModelName))
	}
	if c.isElsewhere(ctx, id.Host()) {
		return c.logElsewhere(ctx, id, id.Name(), r)
	}
	page := &messages.LogPage{}
	if c.o.Log != nil {
		var err error
		if page, err = c.readLog(ctx, c.o.Log, id.Name(), r); err != nil {
			return nil, err
		}
	}
	switch {
	case page.Log != "":
	case c.o.View.Model(id) == nil:
		return nil, notFound(id).WithHint(c.didYouMean(ctx, r.ModelName) + listModels)
	default:
		return nil, messages.NewError(messages.NotFound, id.String(), "it has no log, because no worker of it has run on "+c.o.Host).
			WithHint("`modelops load " + id.Name() + "` starts one")
	}
	page.Host, page.ModelName = c.o.Host, id.Name()
	return page, nil
}

// jobLog reads the log of a job's attempts, at the host that ran them.
func (c *Control) jobLog(ctx context.Context, id messages.ActorID, r *messages.LogRequest, err error) (*messages.LogPage, error) {
	switch {
	case err != nil:
		return nil, err
	case c.isElsewhere(ctx, id.Host()):
		return c.logElsewhere(ctx, id, id.String(), r)
	case c.o.Jobs == nil:
		return nil, messages.NewError(messages.Unsupported, "host "+c.o.Host, "it runs no jobs")
	}
	page, err := c.readLog(ctx, c.o.Jobs.Log, id.Name(), r)
	if err == nil && page.Log == "" {
		err = messages.NewError(messages.NotFound, id.String(), "it has no log, because no attempt of it has begun")
	}
	if err != nil {
		return nil, err
	}
	page.Host, page.ModelName = c.o.Host, id.String()
	return page, nil
}

// readLog waits for a line when there is none yet.
func (c *Control) readLog(ctx context.Context, log func(name, after string, lines int) (*messages.LogPage, error), name string, r *messages.LogRequest) (page *messages.LogPage, err error) {
	lines := int(cmp.Or(min(r.Lines, longestPage), defaultLines))
	read := func() bool {
		page, err = log(name, r.After, lines)
		return err != nil || len(page.Lines) > 0 || r.After == "" || page.Log == ""
	}
	if read() {
		return page, err
	}
	if err := c.await(ctx, r.WaitMs, logStep, read); err != nil {
		return nil, err
	}
	return page, err
}

// logElsewhere asks the host that ran the worker. No other has its log.
func (c *Control) logElsewhere(ctx context.Context, id messages.ActorID, name string, r *messages.LogRequest) (*messages.LogPage, error) {
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(r.WaitMs)*time.Millisecond, longestWait)+answerTime)
	defer cancel()
	page, err := there[*messages.LogPage](ctx, c, id.Host(), "ReadLog",
		&messages.LogRequest{ModelName: name, Host: id.Host(), Lines: r.Lines, After: r.After, WaitMs: r.WaitMs})
	if e := (*messages.Error)(nil); errors.As(err, &e) && e.Code == messages.Unavailable {
		return nil, e.WithHint("the log of " + id.Name() + " lies on " + id.Host() + " alone; `modelops why " + id.Name() + "` answers from the copy of its journal")
	}
	return page, err
}
