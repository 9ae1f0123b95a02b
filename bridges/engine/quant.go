package engine

import (
	"encoding/binary"
	"fmt"
	"math"
)

// tensorKind is GGML's number of a storage type.
type tensorKind uint32

const (
	kindF32  tensorKind = 0
	kindF16  tensorKind = 1
	kindQ4_0 tensorKind = 2
	kindQ8_0 tensorKind = 8
	kindBF16 tensorKind = 30
)

// block gives how many values one block of a kind holds and how many bytes it takes.
func (k tensorKind) block() (values, bytes int64, ok bool) {
	switch k {
	case kindF32:
		return 1, 4, true
	case kindF16, kindBF16:
		return 1, 2, true
	case kindQ4_0: // one float16 scale, 32 nibbles
		return 32, 18, true
	case kindQ8_0: // one float16 scale, 32 signed bytes
		return 32, 34, true
	}
	return 0, 0, false
}

// bytes is the stored size of a tensor. Rows (the first dimension) are whole blocks.
func (k tensorKind) bytes(name string, dims []int64) (int64, error) {
	values, size, ok := k.block()
	if !ok {
		return 0, fmt.Errorf("tensor %q has type %d; F32, F16, BF16, Q8_0 and Q4_0 are supported", name, k)
	}
	if dims[0]%values != 0 {
		return 0, fmt.Errorf("tensor %q: rows of %d values are not whole blocks of %d", name, dims[0], values)
	}
	total := dims[0] / values
	for _, d := range dims[1:] {
		if total > math.MaxInt64/64/d {
			return 0, fmt.Errorf("tensor %q is too large: %v", name, dims)
		}
		total *= d
	}
	return total * size, nil
}

// widen decodes whole blocks of src into dst; len(dst) is the number of values.
func (k tensorKind) widen(dst []float32, src []byte) {
	switch k {
	case kindF32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case kindF16:
		for i := range dst {
			dst[i] = half(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case kindBF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	case kindQ8_0:
		for ; len(dst) >= 32; dst, src = dst[32:], src[34:] {
			scale := half(binary.LittleEndian.Uint16(src))
			for i, q := range src[2:34] {
				dst[i] = scale * float32(int8(q))
			}
		}
	case kindQ4_0: // low nibbles are the first half of the block, high nibbles the second
		for ; len(dst) >= 32; dst, src = dst[32:], src[18:] {
			scale := half(binary.LittleEndian.Uint16(src))
			for i, q := range src[2:18] {
				dst[i] = scale * float32(int(q&15)-8)
				dst[i+16] = scale * float32(int(q>>4)-8)
			}
		}
	}
}

// half widens an IEEE 754 binary16.
func half(h uint16) float32 {
	sign, exponent, mantissa := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&1023
	switch exponent {
	case 0:
		v := float32(mantissa) / (1 << 24) // subnormal: exact in float32
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | mantissa<<13)
}

// toHalf rounds to the nearest binary16, ties to even; what is too large becomes infinite.
func toHalf(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits>>16) & 0x8000
	bits &= 0x7fffffff
	switch {
	case bits > 0x7f800000:
		return sign | 0x7e00
	case bits >= 0x477ff000: // rounds beyond 65504
		return sign | 0x7c00
	case bits < 0x38800000: // subnormal: adding 0.5 shifts the mantissa into place and rounds it
		return sign | uint16(math.Float32bits(math.Float32frombits(bits)+0.5)-0x3f000000)
	}
	return sign | uint16((bits+0xfff+bits>>13&1-112<<23)>>13)
}

// roundHalf rounds every value to what a binary16 can hold.
func roundHalf(x []float32) {
	for i, v := range x {
		x[i] = half(toHalf(v))
	}
}
