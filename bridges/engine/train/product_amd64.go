package train

import "golang.org/x/sys/cpu"

// haveAVX2 also tells that there is FMA and that the operating system saves the wide registers.
var haveAVX2 = cpu.X86.HasAVX2 && cpu.X86.HasFMA

// tileAVX2 is whole for float32. stride is in values; add is 0 or 1.
//
//go:noescape
func tileAVX2(c *float32, stride int, a, b *float32, k, add int)
