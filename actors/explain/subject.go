package explain

import (
	"strings"

	"modelops/messages"
)

// Subject finds out what is asked about: a job by job/HOST/ID, a model by name, alias or model/HOST/NAME, else a request that is in memory, else an id that only
// the journal can know. lease/ID, placement/ID, request/ID and goal/HOST/NAME say it outright. resolve finds a model, remember a request; both may be nil.
// InvalidArgument: the subject is empty.
func Subject(subject string, resolve func(name string) (messages.ActorID, bool), remember func(id string) (Request, bool)) (Question, error) {
	subject = strings.TrimSpace(subject)
	if subject == "" {
		return Question{}, messages.NewError(messages.InvalidArgument, "subject", "it is empty").
			WithHint("name a model, a request, a lease or a placement")
	}
	q := Question{Subject: subject, ID: subject}
	switch id, err := messages.ParseActorID(subject); {
	case err == nil && id.Kind == messages.KindJob:
		return Question{Subject: subject, Model: id}, nil
	case err == nil && id.Kind == messages.KindGoal:
		return q, nil
	}
	if id, ok := modelNamed(subject, resolve); ok {
		return Question{Subject: subject, Model: id}, nil
	}
	kind, id, prefixed := strings.Cut(subject, "/")
	switch {
	case prefixed && id != "" && (kind == "lease" || kind == "placement"):
		q.ID = id
		return q, nil
	case prefixed && id != "" && kind == "request":
		q.ID = id
	}
	if remember == nil {
		return q, nil
	}
	if r, ok := remember(q.ID); ok {
		q.Request, q.Model = &r, r.Model
	}
	return q, nil
}

func modelNamed(subject string, resolve func(string) (messages.ActorID, bool)) (messages.ActorID, bool) {
	if resolve == nil {
		return messages.ActorID{}, false
	}
	if id, ok := resolve(subject); ok {
		return id, true
	}
	if rest, ok := strings.CutPrefix(subject, messages.KindModel+"/"); ok {
		if id, ok := resolve(rest); ok {
			return id, true
		}
		if host, name, ok := strings.Cut(rest, "/"); ok {
			id, ok := resolve(name)
			return id, ok && id.Host() == host // another host's model of the same name is another model
		}
	}
	return messages.ActorID{}, false
}
