package process

import "syscall"

// Signal sends a signal to a process that proves itself, and to nothing else. Gone: nothing was sent, and there is no error, because its end is told by Watch.
// Unavailable tells that it can't be proven now.
func (s *Supervisor) Signal(h Handle, sig syscall.Signal) error {
	p, live, why := s.Open(h)
	switch live {
	case Gone:
		return nil
	case Unknown:
		return cantKnow(h.Nonce, why)
	}
	defer p.Close()
	return p.signal(sig)
}
