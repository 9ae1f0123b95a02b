package cli

import (
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows a bar or a spinner on stderr when an operation takes longer than a second. It prints nothing when stderr is no terminal.
type progress struct {
	mu      sync.Mutex
	label   string
	options []progressbar.Option
	bar     *progressbar.ProgressBar
	max     int64
	began   time.Time
	stop    chan struct{}
	once    sync.Once
}

const (
	quietFirst = time.Second
	redraw     = 100 * time.Millisecond
)

func (c *cli) progress(label string) *progress {
	p := &progress{label: label, max: -1, began: time.Now(), stop: make(chan struct{})}
	if !terminal(c.stderr) || c.asJSON {
		return p
	}
	p.options = []progressbar.Option{
		progressbar.OptionSetWriter(c.stderr), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(redraw), progressbar.OptionEnableColorCodes(c.coloured()), progressbar.OptionSetElapsedTime(true),
		progressbar.OptionSpinnerType(14),
	}
	go p.tick()
	return p
}

// tick keeps the spinner moving between reports.
func (p *progress) tick() {
	t := time.NewTicker(redraw)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-t.C:
			p.mu.Lock()
			if p.show() && p.max < 0 {
				_ = p.bar.Add(1)
			}
			p.mu.Unlock()
		}
	}
}

// show reports whether the bar is visible, and makes it when it is time. The caller holds mu.
func (p *progress) show() bool {
	select {
	case <-p.stop:
		return false
	default:
	}
	if p.options == nil || time.Since(p.began) < quietFirst {
		return false
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(p.max, append(p.options, progressbar.OptionSetDescription(p.label))...)
	}
	return true
}

// stage sets the label.
func (p *progress) stage(label string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.label = label
	if p.show() {
		p.bar.Describe(label)
	}
}

// at reports that n of total are done; bytes tells that they are bytes.
func (p *progress) at(n, total int64, bytes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if total <= 0 {
		return
	}
	if p.max != total {
		p.max, p.bar = total, nil
		if p.options != nil && bytes {
			p.options = append(p.options, progressbar.OptionShowBytes(true))
		}
	}
	if p.show() {
		_ = p.bar.Set64(min(n, total))
	}
}

// done removes the bar. Calls after the first do nothing.
func (p *progress) done() {
	p.once.Do(func() {
		close(p.stop)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.bar != nil {
			_ = p.bar.Clear()
		}
	})
}
