package journal

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"modelops/messages"
)

// Others have streams at the hub too. One of them may have a name or subjects that an archive wants.

// subjectsTaken is the code of NATS for a stream whose subjects overlap with another one's.
const subjectsTaken jetstream.ErrorCode = 10065

// isArchive tells whether a stream was made by an archive of the host. All is compared that an operator can't change or has no reason to: a stream that only looks
// like one is somebody else's, and what is published to it would be lost to the archive.
func isArchive(c jetstream.StreamConfig, host string) bool {
	start, named := strings.CutPrefix(c.Name, archiveName(host))
	return named && slices.Equal(c.Subjects, []string{ArchiveSubjects + host + "." + start}) && c.DenyDelete && c.DenyPurge && c.Mirror == nil && len(c.Sources) == 0
}

// streamsAt are the streams that store what is published to the archives of a host, by name, which begins with a prefix.
func streamsAt(ctx context.Context, js jetstream.JetStream, host, prefix string) (out []jetstream.Stream, err error) {
	list := js.StreamNames(ctx, jetstream.WithStreamListSubject(ArchiveSubjects+host+".*"))
	var names []string
	for name := range list.Name() {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	if err := list.Err(); err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// taken adds to the error of a new stream whose stream is in its way, and what to do. The new one's name isn't told: it is another one at each try.
func (a *Archive) taken(ctx context.Context, js jetstream.JetStream, err error) error {
	var refused jetstream.JetStreamError
	if !errors.As(err, &refused) || refused.APIError() == nil {
		return err
	}
	switch refused.APIError().ErrorCode {
	case jetstream.JSErrCodeStreamNameInUse:
		return messages.Errorf(messages.Conflict, "nats.hub", "a stream there that this host didn't make has the name of one of its own").WithCause(err).
			WithHint("JOURNAL_" + a.o.Host + "_ and PARTS_" + a.o.Host + "_ begin the names of this host's streams: give the other one another name; nothing is written to it")
	case subjectsTaken:
	default:
		return err
	}
	all, failed := streamsAt(ctx, js, a.o.Host, "")
	if failed != nil {
		return err
	}
	var foreign []string
	for _, s := range all {
		if c := s.CachedInfo().Config; !isArchive(c, a.o.Host) && !strings.HasPrefix(c.Name, partsOf(archiveName(a.o.Host))) {
			foreign = append(foreign, c.Name+" ("+strings.Join(c.Subjects, ", ")+")")
		}
	}
	wanted := ArchiveSubjects + a.o.Host + ".*"
	return messages.Errorf(messages.Conflict, "nats.hub", "a stream there that this host didn't make stores %s already: %s", wanted, strings.Join(foreign, ", ")).WithCause(err).
		WithHint("give that stream other subjects, or the user of nats.hub another account of the hub, or take journal.archive out; nothing is written to that stream")
}
