package sim

import (
	"cmp"
	"fmt"
	"slices"

	"modelops/messages"
)

// ledger is the memory of one device and its holders.
type ledger struct {
	id, name string
	capacity uint64
	used     map[int64]uint64 // bytes by pid
	foreign  uint64           // bytes held by programs that aren't named
	lost     string           // why the device is lost; empty = it isn't
}

// Use declares that pid holds bytes of the device, in place of what it held there before. More than is free is refused
// with GPUUnavailable, as a real device refuses an allocation, and changes nothing.
func (d *Devices) Use(device string, pid int64, bytes uint64) error {
	return d.change(device, func(l *ledger) error {
		if err := l.fits(bytes, l.used[pid]); err != nil {
			return err
		}
		l.used[pid] = bytes
		return nil
	})
}

// Free gives back what pid holds of the device; nothing when it holds nothing.
func (d *Devices) Free(device string, pid int64) error {
	return d.change(device, func(l *ledger) error {
		delete(l.used, pid)
		return nil
	})
}

// TakeForeign sets how many bytes programs hold that aren't ours: used, but by no pid. 0 gives them back.
func (d *Devices) TakeForeign(device string, bytes uint64) error {
	return d.change(device, func(l *ledger) error {
		if err := l.fits(bytes, l.foreign); err != nil {
			return err
		}
		l.foreign = bytes
		return nil
	})
}

// Lose makes the device answer nothing but the reason. What was in its memory is gone, also after Recover.
func (d *Devices) Lose(device, reason string) error {
	if reason == "" {
		reason = "simulated loss"
	}
	return d.edit(device, func(l *ledger) error {
		l.lost, l.foreign = reason, 0
		clear(l.used)
		return nil
	})
}

// Recover brings a lost device back, with all its memory free.
func (d *Devices) Recover(device string) error {
	return d.edit(device, func(l *ledger) error {
		l.lost = ""
		return nil
	})
}

// Fault plays an Xid event. It fails with Unavailable when 64 of them wait for a reader.
func (d *Devices) Fault(device string, code uint64) error {
	return d.edit(device, func(l *ledger) error {
		select {
		case d.faults <- &messages.DeviceFault{Device: device, Fault: fmt.Sprintf("simulated Xid %d", code), Code: code}:
			return nil
		default:
			return messages.Errorf(messages.Unavailable, device, "%d faults wait and no reader takes them", faultRoom)
		}
	})
}

// change is edit for what a lost device refuses.
func (d *Devices) change(device string, do func(*ledger) error) error {
	return d.edit(device, func(l *ledger) error {
		if l.lost != "" {
			return messages.Errorf(messages.GPUUnavailable, device, "the device is lost: %s", l.lost)
		}
		return do(l)
	})
}

func (d *Devices) edit(device string, do func(*ledger) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return closedError()
	}
	l := d.ledger[device]
	if l == nil {
		return messages.NewError(messages.NotFound, device, "there is no such simulated device")
	}
	return do(l)
}

// fits refuses a holder's new amount when it is more than what is free and what it already has.
func (l *ledger) fits(bytes, has uint64) error {
	free := l.capacity - l.held() + has
	if bytes <= free {
		return nil
	}
	return messages.Errorf(messages.GPUUnavailable, l.id,
		"out of memory: %d bytes wanted, %d free of %d", bytes, free, l.capacity)
}

// held is never more than the capacity: fits sees to it.
func (l *ledger) held() uint64 {
	sum := l.foreign
	for _, bytes := range l.used {
		sum += bytes
	}
	return sum
}

// reading merges the declared uses with those that were seen. Seen uses can't be refused, so the sum may exceed the capacity,
// like a program that took more than it was granted.
func (l *ledger) reading(seen map[int64]uint64) *messages.DeviceReading {
	reading := &messages.DeviceReading{
		Device: l.id, Kind: kind, Name: l.name, Uuid: "SIM-" + l.id,
		CapacityBytes: l.capacity, EccErrors: -1,
	}
	if l.lost != "" {
		reading.Lost, reading.LostReason = true, l.lost
		return reading
	}
	reading.UsedBytes = l.foreign
	add := func(pid int64, bytes uint64) {
		reading.UsedBytes += bytes
		reading.Processes = append(reading.Processes, &messages.ProcessMemory{Pid: pid, Bytes: bytes})
	}
	for pid, bytes := range l.used {
		add(pid, bytes)
	}
	for pid, bytes := range seen {
		if _, declared := l.used[pid]; !declared {
			add(pid, bytes)
		}
	}
	slices.SortFunc(reading.Processes, func(a, b *messages.ProcessMemory) int { return cmp.Compare(a.Pid, b.Pid) })
	return reading
}
