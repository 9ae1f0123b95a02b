package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"modelops/messages"
)

// wire is a link to one host, which can be cut.
type wire struct {
	mu   sync.Mutex
	page func(ctx context.Context, r *messages.PageRequest) (*messages.PageReply, error)
	cut  context.CancelFunc
	up   context.Context
}

func newWire(page func(context.Context, *messages.PageRequest) (*messages.PageReply, error)) *wire {
	w := &wire{page: page}
	w.mend()
	return w
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up, w.cut = context.WithCancel(context.Background())
}

func (w *wire) Pages(ctx context.Context, host string, r *messages.PageRequest) (*messages.PageReply, error) {
	w.mu.Lock()
	up := w.up
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(up, cancel)()
	page, err := w.page(ctx, r)
	if up.Err() != nil {
		return nil, messages.NewError(messages.Unavailable, "host "+host, "it can't be reached")
	}
	return page, err
}

func keep(t testing.TB, c *Copies, host string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { c.Keep(ctx, host) })
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(func() { stop(); c.Close() })
	return stop
}

func copiesReach(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		if ok() {
			return time.Since(began)
		}
		if time.Since(began) > 2*time.Minute {
			t.Fatalf("%s: not in time", what)
		}
	}
}

func copiedUpTo(c *Copies, host string, n uint64) func() bool {
	return func() bool { p, err := c.Of(context.Background(), host); return err == nil && p.Sequence() == n }
}

func TestCopiesCatchUpAfterACut(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 50)
	w := newWire(Pager{Host: testHost, Journal: j}.Page)
	c := NewCopies(CopiesOptions{Dir: t.TempDir(), Host: "pc2", Peers: w})
	keep(t, c, testHost)
	copiesReach(t, "first copy", copiedUpTo(c, testHost, 50))
	w.cut()
	heads := map[int]uint64{}
	for i := range 500 {
		a := 10 + i%5
		heads[a] = mustAppend(t, j, modelName(a), heads[a], wanted(fmt.Sprint(i))...)
	}
	if p, _ := c.Of(t.Context(), testHost); p.Sequence() != 50 {
		t.Errorf("copied %d through a cut link", p.Sequence())
	}
	w.mend()
	t.Logf("500 decisions copied %v after the link's return", copiesReach(t, "catch-up", copiedUpTo(c, testHost, 550)))

	p, err := c.Of(t.Context(), testHost)
	if err != nil {
		t.Fatal(err)
	}
	want, got := readAll(t, j, Query{}), []messages.Recorded{}
	if err := p.Replay(t.Context(), Query{}, func(r messages.Recorded) error { got = append(got, r); return nil }); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if got[i].ID != want[i].ID || got[i].Meta != want[i].Meta || !got[i].At.Equal(want[i].At) || !proto.Equal(got[i].Decision, want[i].Decision) {
			t.Fatalf("decision %d is %+v, want %+v", i+1, got[i], want[i])
		}
	}
	var read []uint64
	if err := p.Read(t.Context(), []uint64{549, 3, 200, 3}, func(r messages.Recorded) error { read = append(read, r.Sequence); return nil }); err != nil || fmt.Sprint(read) != "[3 200 549]" {
		t.Errorf("read %v, %v", read, err)
	}
}

// A host that lost its disk, or went back to an older copy of it, has another journal: what was copied before is never overwritten.
func TestCopiesKeepWhatTheHostLost(t *testing.T) {
	before := testOpen(t)
	fill(t, before, 30)
	var at Pager = Pager{Host: testHost, Journal: before}
	var mu sync.Mutex
	w := newWire(func(ctx context.Context, r *messages.PageRequest) (*messages.PageReply, error) {
		mu.Lock()
		p := at
		mu.Unlock()
		return p.Page(ctx, r)
	})
	dir := t.TempDir()
	c := NewCopies(CopiesOptions{Dir: dir, Host: "pc2", Peers: w})
	keep(t, c, testHost)
	copiesReach(t, "first copy", copiedUpTo(c, testHost, 30))
	for _, decisions := range []int{7, 40} { // shorter, then longer than what was copied
		w.cut()
		lost := testOpen(t)
		fill(t, lost, decisions)
		mu.Lock()
		at.Journal = lost
		mu.Unlock()
		w.mend()
		copiesReach(t, "copy of the new journal", copiedUpTo(c, testHost, uint64(decisions)))
	}
	names, err := CopyNames(dir, testHost)
	if err != nil || len(names) != 3 {
		t.Fatalf("copies %v, %v", names, err)
	}
	lengths := map[uint64]bool{}
	for _, name := range names {
		p, err := TheCopy(t.Context(), dir, testHost, name)
		if err != nil {
			t.Fatal(err)
		}
		lengths[p.Sequence()] = true
		if told := readTold(CopyDir(dir, testHost, name)); name != CurrentCopy && told != p.Sequence() {
			t.Errorf("%s was told %d, holds %d", name, told, p.Sequence())
		}
	}
	if !lengths[30] || !lengths[7] || !lengths[40] {
		t.Errorf("copies hold %v", lengths)
	}
}

func TestCopiesStopWhenTheDiskIsFull(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 3)
	c := NewCopies(CopiesOptions{Dir: t.TempDir(), Host: "pc2", Peers: newWire(Pager{Host: testHost, Journal: j}.Page), MinFree: 1 << 62})
	keep(t, c, testHost)
	copiesReach(t, "note", func() bool { s := c.Status(); return len(s) == 1 && s[0].Note != "" })
	if s := c.Status()[0]; s.Copied != 0 {
		t.Errorf("%+v", s)
	}
}

// decisionsOf makes a journal of another host in memory.
func decisionsOf(boot string, n int) (out []*messages.RecordedDecision) {
	heads := map[string]uint64{}
	for i := range n {
		actor := modelName(i % 3).String()
		out = append(out, &messages.RecordedDecision{Sequence: uint64(i + 1), Expected: heads[actor], Actor: actor, Id: fmt.Sprint(boot, i), BootId: boot,
			At: time.Unix(int64(i), 0).UTC().Format(time.RFC3339Nano), Decision: &messages.Decision{Events: []*messages.Event{{Type: "x", Body: make([]byte, i%7)}}}})
		heads[actor] = uint64(i + 1)
	}
	return out
}

// model is a host whose journal is copied, as the property sees it.
type copyModel struct {
	dir     string
	all     []*messages.RecordedDecision
	has     int // of all, acknowledged
	boots   int
	down    bool
	copies  *Copies
	known   bool
	longest map[string]int // decisions of each journal that were copied
}

func (m *copyModel) Pages(_ context.Context, _ string, r *messages.PageRequest) (*messages.PageReply, error) {
	if m.down {
		return nil, messages.NewError(messages.Unavailable, "host", "down")
	}
	page := &messages.PageReply{Host: testHost, LastSequence: uint64(m.has)}
	if r.After < uint64(m.has) {
		page.Decisions = m.all[r.After:min(m.has, int(r.After)+17)]
	}
	return page, nil
}

func (m *copyModel) restart() {
	if m.copies != nil {
		m.copies.Close()
	}
	m.copies, m.known = NewCopies(CopiesOptions{Dir: m.dir, Host: "pc2", Peers: m}), false
}

func (m *copyModel) loseDisk(has int) {
	m.boots++
	m.all, m.has, m.known = decisionsOf(fmt.Sprintf("boot%d-", m.boots), 400), has, false
}

func (m *copyModel) tear(t *rapid.T) {
	m.copies.Close()
	if files, err := listPeerFiles(CopyDir(m.dir, testHost, CurrentCopy)); err == nil && len(files) > 0 {
		f := files[len(files)-1]
		_ = os.Truncate(f.path, rapid.Int64Range(0, f.size).Draw(t, "size"))
	}
	m.restart()
	m.longest = map[string]int{}
}

// check reads every copy: each is of one journal, from its first decision on, and none is shorter than it was.
func (m *copyModel) check(t *rapid.T) {
	names, err := CopyNames(m.dir, testHost)
	if err != nil {
		t.Fatal(err)
	}
	now := map[string]int{}
	for _, name := range names {
		p, err := TheCopy(context.Background(), m.dir, testHost, name)
		if err != nil {
			t.Fatal(err)
		}
		first, n := "", 0
		err = p.stored(0, p.Sequence(), func(d *messages.RecordedDecision) error {
			if n == 0 {
				first = d.BootId
			}
			if n++; d.BootId != first || d.Sequence != uint64(n) {
				return fmt.Errorf("%s holds %d of %s at %d", name, d.Sequence, d.BootId, n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		now[first] = max(now[first], n)
	}
	for boot, n := range m.longest {
		if now[boot] < n {
			t.Fatalf("%d decisions of %s were copied, and %d are left", n, boot, now[boot])
		}
	}
	m.longest = now
}

// A copy is always a beginning of what the host had acknowledged, through restarts, torn and damaged files, lost disks and older ones.
func TestPropertyCopyIsAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "copies")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &copyModel{dir: dir, all: decisionsOf("boot0-", 400), longest: map[string]int{}}
		m.restart()
		defer func() { m.copies.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) { m.has = min(len(m.all), m.has+rapid.IntRange(1, 30).Draw(t, "n")) },
			"cut":    func(*rapid.T) { m.down = !m.down },
			"copy": func(*rapid.T) {
				m.known = m.copies.copier(testHost).step(context.Background(), &m.known) == nil && m.known
			},
			"restart":   func(*rapid.T) { m.restart() },
			"lost disk": func(t *rapid.T) { m.loseDisk(rapid.IntRange(0, 50).Draw(t, "has")) },
			"torn":      m.tear,
			"":          m.check,
		})
	})
}

// Damage before the last file is found, what is readable is copied on from, and the damaged files stay.
func TestDamagedCopyIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "main_pc", CurrentCopy)
	p, err := writePeerCopy(t.Context(), dir, testHost)
	if err != nil {
		t.Fatal(err)
	}
	all := decisionsOf("b", 20)
	for _, d := range all[:10] {
		if err := p.append([]*messages.RecordedDecision{d}); err != nil {
			t.Fatal(err)
		}
	}
	p.files[0].size += peerFileSize // the next one begins a file
	if err := p.append(all[10:]); err != nil {
		t.Fatal(err)
	}
	p.close()
	files, _ := listPeerFiles(dir)
	b, _ := os.ReadFile(files[0].path)
	b[len(b)/2] ^= 1
	if err := os.WriteFile(files[0].path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	p, err = writePeerCopy(t.Context(), dir, testHost)
	if err != nil || p.Sequence() == 0 || p.Sequence() >= 10 {
		t.Fatalf("%d, %v", p.Sequence(), err)
	}
	if err := p.append(all[p.Sequence():]); err != nil || p.Sequence() != 20 {
		t.Errorf("%d, %v", p.Sequence(), err)
	}
	p.close()
	if kept, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "kept-damaged-*")); len(kept) != 1 {
		t.Errorf("kept %v", kept)
	}
	if err := p.append([]*messages.RecordedDecision{{Sequence: 22, Actor: "model/a/b"}}); messages.CodeOf(err) != messages.JournalDamaged {
		t.Errorf("a gap was copied: %v", err)
	}
	p.close()
}

// A host whose disk is lost gets its journal back from a peer's copy, and hears which decisions nobody has: those that the peer heard of only.
func TestRestoreFromAPeersCopy(t *testing.T) {
	j := testOpen(t)
	fill(t, j, 40)
	dir := t.TempDir()
	w := newWire(Pager{Host: testHost, Journal: j}.Page)
	c := NewCopies(CopiesOptions{Dir: dir, Host: "pc2", Peers: w})
	stop := keep(t, c, testHost)
	copiesReach(t, "copy", copiedUpTo(c, testHost, 40))
	w.cut()
	c.Heard(testHost, 47)
	stop()
	c.Close()
	p, host, err := PeerCopyIn(t.Context(), CopyDir(dir, testHost, CurrentCopy))
	if err != nil || host != testHost || p.Sequence() != 40 || p.Told() != 47 {
		t.Fatalf("%s holds %d of %d, %v", host, p.Sequence(), p.Told(), err)
	}
	o := testOptions(t, t.TempDir())
	done, err := Restore(t.Context(), o, func(ctx context.Context, fn func(messages.Recorded) error) error {
		return p.Replay(ctx, Query{Unknown: true}, fn)
	})
	if err != nil || done.Last != 40 {
		t.Fatalf("%+v, %v", done, err)
	}
	back := mustOpen(t, o)
	want := readAll(t, j, Query{})
	for i, r := range readAll(t, back, Query{}) {
		if r.ID != want[i].ID || !r.At.Equal(want[i].At) || r.BootID != want[i].BootID || !proto.Equal(r.Decision, want[i].Decision) {
			t.Errorf("decision %d is %+v, want %+v", i+1, r, want[i])
		}
	}
	// The restored host goes on, and the peer's copy goes on with it.
	mustAppend(t, back, modelName(9), 0, wanted("after the loss")...)
	w.page = Pager{Host: testHost, Journal: back}.Page
	w.mend()
	c = NewCopies(CopiesOptions{Dir: dir, Host: "pc2", Peers: w})
	keep(t, c, testHost)
	copiesReach(t, "copy of the restored journal", copiedUpTo(c, testHost, 41))
	if names, _ := CopyNames(dir, testHost); len(names) != 1 {
		t.Errorf("the copy was set aside although the journal goes on from it: %v", names)
	}
}
