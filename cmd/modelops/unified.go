package main

import (
	"context"
	"sync"

	"modelops/bridges/cpu"
	"modelops/bridges/nvml"
	"modelops/messages"
)

// kindUnified is a GPU that uses the machine's RAM, which its driver says nothing of.
const kindUnified = "unified"

// sharedRAM is what GPUs and processor of a host have to agree on. Memory that two of them share has one ledger, because two would grant it
// twice: where a GPU uses the RAM, it has the RAM budget, and the processor is no device of its own.
type sharedRAM struct {
	mu     sync.Mutex
	shared bool
	beside map[int64]uint64 // what processes hold of the RAM through the GPU, in bytes by pid
}

func (s *sharedRAM) held() map[int64]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beside
}

// note remembers the GPU that uses the RAM; nil where none does.
func (s *sharedRAM) note(gpu *messages.DeviceReading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared, s.beside = gpu != nil, nil; gpu == nil {
		return
	}
	s.beside = map[int64]uint64{}
	for _, p := range gpu.Processes {
		s.beside[p.Pid] += p.Bytes
	}
}

// gpuCards are the GPUs of NVIDIA.
type gpuCards struct {
	*nvml.Devices
	with *sharedRAM
	ram  *cpu.Device
}

// Read gives a GPU that uses the RAM the figures of the RAM. What a worker holds there is in its processes, and in what the GPU's driver lists.
func (c gpuCards) Read(ctx context.Context) ([]*messages.DeviceReading, error) {
	all, err := c.Devices.Read(ctx)
	if err != nil {
		return nil, err
	}
	shared := sharing(all)
	c.with.note(shared)
	if shared == nil {
		return all, nil
	}
	ram, err := c.ram.Read(ctx)
	if err != nil {
		shared.Lost, shared.LostReason = true, err.Error()
		return all, nil
	}
	shared.CapacityBytes, shared.UsedBytes = ram[0].CapacityBytes, ram[0].UsedBytes
	shared.Processes = append(shared.Processes, ram[0].Processes...)
	return all, nil
}

// sharing is the GPU that uses the RAM; nil where none does. A second one has no memory that the first hasn't.
func sharing(all []*messages.DeviceReading) (first *messages.DeviceReading) {
	for _, r := range all {
		switch {
		case r.Kind != kindUnified || r.Lost:
		case first == nil:
			first = r
		default:
			r.Lost, r.LostReason = true, "it shares the RAM with "+first.Device
		}
	}
	return first
}

// processor is the processor, where no GPU has its RAM.
type processor struct {
	*cpu.Device
	with *sharedRAM
}

// Read is to come after that of the cards.
func (p processor) Read(ctx context.Context) ([]*messages.DeviceReading, error) {
	p.with.mu.Lock()
	shared := p.with.shared
	p.with.mu.Unlock()
	if shared {
		return nil, nil
	}
	return p.Device.Read(ctx)
}
