package join

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"modelops/bridges/certs"
	"modelops/messages"
)

const (
	invitationsFile = "invitations.json"
	// remembered is how long a token is known after it has expired, so that who comes late hears why it is refused.
	remembered = 24 * time.Hour
	// mostInvitations may be good at once.
	mostInvitations = 256
)

// invitation is a token that was given out. Its secret isn't kept.
type invitation struct {
	Secret  string    `json:"secret_sha256"`
	Host    string    `json:"host,omitempty"` // the only one that may use it
	Expires time.Time `json:"expires"`
	Guest   string    `json:"guest,omitempty"` // who has used it
	Key     string    `json:"key_sha256,omitempty"`
}

// book is the file of the invitations. What changes is written before it holds.
type book struct {
	path string
	list []invitation
}

func openBook(dir string) (*book, error) {
	b := &book{path: filepath.Join(dir, invitationsFile)}
	text, err := os.ReadFile(b.path)
	if err == nil {
		err = json.Unmarshal(text, &b.list)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, messages.Errorf(messages.FailedPrecondition, b.path, "the invitations can't be read: %w", err).WithHint("delete the file: tokens that are outstanding are void then")
	}
	return b, nil
}

func (b *book) write(list []invitation) error {
	text, err := json.MarshalIndent(list, "", "  ")
	if err == nil {
		err = certs.Replace(b.path, append(text, '\n'), 0o600)
	}
	if err == nil {
		b.list = list
	}
	return err
}

// add notes a token, and forgets those that expired long ago.
func (b *book) add(in invitation, now time.Time) error {
	list := slices.DeleteFunc(slices.Clone(b.list), func(x invitation) bool { return now.Sub(x.Expires) > remembered })
	if len(list) >= mostInvitations { // those that nobody can use any more are known only for the words of a refusal
		list = slices.DeleteFunc(list, func(x invitation) bool { return now.After(x.Expires) })
	}
	if len(list) >= mostInvitations {
		return messages.Errorf(messages.BulkheadRejection, b.path, "%d invitations are good now", len(list)).WithHint("use one of them, invite on another member, or wait until some have expired: they last 15m if --ttl isn't given")
	}
	return b.write(append(list, in))
}

// find tells which invitation a guest may use, and whether it is the guest that has used it already.
func (b *book) find(r *request, key string, now time.Time) (at int, again bool, err error) {
	at = slices.IndexFunc(b.list, func(x invitation) bool { return x.Secret == hashOf(r.Secret) })
	if at < 0 {
		return at, false, refused("the token isn't one of this host, or was forgotten")
	}
	in := b.list[at]
	again = in.Guest == r.Host && in.Key == key
	switch {
	case in.Guest != "" && !again:
		return at, again, refused("the token was used already, by " + in.Guest)
	case now.After(in.Expires):
		return at, again, refused("the token expired at " + in.Expires.Format(time.DateTime))
	case in.Host != "" && in.Host != r.Host:
		return at, again, refused("the token is for host " + in.Host + ", and this is " + r.Host)
	}
	return at, again, nil
}

// spend gives a token to a guest.
func (b *book) spend(at int, guest, key string) error {
	list := slices.Clone(b.list)
	list[at].Guest, list[at].Key = guest, key
	return b.write(list)
}

func refused(why string) *messages.Error {
	return messages.NewError(messages.PermissionDenied, "--token", why).WithHint("ask for a new one: modelops cluster invite on a member")
}
