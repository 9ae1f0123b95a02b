package engine

import "math"

// matrix holds rows of weights, widened (dense) or as stored (raw), never both.
type matrix struct {
	rows, cols int
	kind       tensorKind
	dense      []float32
	raw        []byte
}

func (m *matrix) rowBytes() int {
	values, size, _ := m.kind.block()
	return int(int64(m.cols) / values * size)
}

// row yields rows from..from+n; scratch must hold n*cols values when the matrix is kept as stored.
func (m *matrix) row(from, n int, scratch []float32) []float32 {
	if m.dense != nil {
		return m.dense[from*m.cols : (from+n)*m.cols]
	}
	b := m.rowBytes()
	dst := scratch[:n*m.cols]
	m.kind.widen(dst, m.raw[from*b:(from+n)*b])
	return dst
}

// mul computes dst[t] = M x[t] for n vectors laid out one after the other. Every element is summed in the same order
// whatever n is, so a prompt evaluated in any pieces gives the same bits. scratch holds 4*cols values.
func (m *matrix) mul(dst, x []float32, n int, scratch []float32) {
	r := 0
	for ; r+4 <= m.rows; r += 4 {
		w := m.row(r, 4, scratch)
		for t := range n {
			a, b, c, d := dot4(w, x[t*m.cols:(t+1)*m.cols])
			o := dst[t*m.rows+r : t*m.rows+r+4]
			o[0], o[1], o[2], o[3] = a, b, c, d
		}
	}
	for ; r < m.rows; r++ {
		w := m.row(r, 1, scratch)
		for t := range n {
			dst[t*m.rows+r] = dot(w, x[t*m.cols:(t+1)*m.cols])
		}
	}
}

// dot4Plain is dot4 without wide registers. Two partial sums a row keep eight independent
// chains in flight, which is what hides the latency of a scalar addition.
func dot4Plain(w, x []float32) (float32, float32, float32, float32) {
	n := len(x)
	a, b, c, d := w[:n], w[n:2*n], w[2*n:3*n], w[3*n:4*n]
	b, c, d = b[:len(a)], c[:len(a)], d[:len(a)]
	x = x[:len(a)]
	var a0, a1, b0, b1, c0, c1, d0, d1 float32
	i := 0
	for ; i < len(a)-1; i += 2 {
		u, v := x[i], x[i+1]
		a0 += a[i] * u
		b0 += b[i] * u
		c0 += c[i] * u
		d0 += d[i] * u
		a1 += a[i+1] * v
		b1 += b[i+1] * v
		c1 += c[i+1] * v
		d1 += d[i+1] * v
	}
	if i < len(a) {
		u := x[i]
		a0 += a[i] * u
		b0 += b[i] * u
		c0 += c[i] * u
		d0 += d[i] * u
	}
	return a0 + a1, b0 + b1, c0 + c1, d0 + d1
}

func dot(a, x []float32) float32 {
	x = x[:len(a)]
	var s0, s1, s2, s3 float32
	for len(a) >= 4 && len(x) >= 4 {
		s0 += a[0] * x[0]
		s1 += a[1] * x[1]
		s2 += a[2] * x[2]
		s3 += a[3] * x[3]
		a, x = a[4:], x[4:]
	}
	for i := range a {
		s0 += a[i] * x[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// addScaled adds f*x to dst.
func addScaled(dst, x []float32, f float32) {
	x = x[:len(dst)]
	for len(dst) >= 4 && len(x) >= 4 {
		dst[0] += f * x[0]
		dst[1] += f * x[1]
		dst[2] += f * x[2]
		dst[3] += f * x[3]
		dst, x = dst[4:], x[4:]
	}
	for i := range dst {
		dst[i] += f * x[i]
	}
}

// rmsNorm writes x, scaled to a root mean square of one, times the weights.
func rmsNorm(dst, x, weight []float32, eps float64) {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	scale := float32(1 / math.Sqrt(sum/float64(len(x))+eps))
	for i, v := range x {
		dst[i] = v * scale * weight[i]
	}
}

// scaleHalf multiplies x by f, in half precision.
func scaleHalf(x []float32, f float32) {
	for i, v := range x {
		x[i] = nearHalf(v * f)
	}
}

// addScaledHalf adds f*x to dst, in half precision.
func addScaledHalf(dst, x []float32, f float32) {
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] = nearHalf(dst[i] + f*v)
	}
}

// nearHalf rounds to half precision's 11 significant bits but keeps float32's range, which makes it four times as fast as
// going there and back; below 6e-5 it is more exact than half precision.
func nearHalf(f float32) float32 {
	bits := math.Float32bits(f)
	return math.Float32frombits((bits + 0xfff + bits>>13&1) &^ 0x1fff)
}

// exp32 is e^x to within two units in the last place of a float32: 2^n times a polynomial on [-ln2/2, ln2/2]. The
// standard library's is a float64 one and cost a tenth of a token.
func exp32(x float32) float32 {
	if x != x {
		return x
	}
	if x < -87 {
		return 0
	}
	if x > 88 {
		return float32(math.Inf(1))
	}
	const shift = 1.5 * (1 << 23) // adding and subtracting it rounds to an integer
	n := float32(x*math.Log2E+shift) - shift
	r := x - n*0.693359375
	r -= n * -2.12194440e-4
	p := float32(1.0/5040)*r + 1.0/720
	p = p*r + 1.0/120
	p = p*r + 1.0/24
	p = p*r + 1.0/6
	p = p*r + 0.5
	p = p*r + 1
	p = p*r + 1
	return p * math.Float32frombits(uint32(int32(n)+127)<<23)
}
