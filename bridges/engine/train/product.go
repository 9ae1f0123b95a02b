package train

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// real is what the network computes with: float32 in life, float64 where a test compares with finite differences.
type real interface{ float32 | float64 }

// view is a matrix in a slice: element (r, c) is v[r*rs+c*cs].
type view[T real] struct {
	v          []T
	rows, cols int
	rs, cs     int
}

func dense[T real](v []T, rows, cols int) view[T] { return view[T]{v, rows, cols, cols, 1} }

func (m view[T]) transposed() view[T] { return view[T]{m.v, m.cols, m.rows, m.cs, m.rs} }

// part is rows r..r+rows and columns c..c+cols.
func (m view[T]) part(r, rows, c, cols int) view[T] {
	return view[T]{m.v[min(r*m.rs+c*m.cs, len(m.v)):], rows, cols, m.rs, m.cs}
}

// Tiles. A tile of the result stays in registers; a block of each factor is packed so that a tile reads it in order and it
// stays in the second-level cache. None of these sizes changes a result but blockK, where a sum is cut.
const (
	tileRows, tileCols = 6, 16
	blockRows          = 20 * tileRows
	blockCols          = 16 * tileCols
	blockK             = 256
)

// worker is the scratch memory of one thread.
type worker[T real] struct {
	a, b   []T
	edge   [tileRows * tileCols]T
	scores [2][]T
	sums   []T
}

// team is a fixed number of workers. What it computes doesn't depend on their number.
type team[T real] struct{ workers []worker[T] }

func newTeam[T real](threads int) *team[T] {
	t := &team[T]{workers: make([]worker[T], threads)}
	for i := range t.workers {
		t.workers[i].a = make([]T, blockRows*blockK)
		t.workers[i].b = make([]T, blockCols*blockK)
	}
	return t
}

// each calls f for 0..n-1, in any order and by any worker: the calls must write to different places.
func (t *team[T]) each(n int, f func(w *worker[T], i int)) {
	if len(t.workers) == 1 || n <= 1 {
		for i := range n {
			f(&t.workers[0], i)
		}
		return
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for k := range min(n, len(t.workers)) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(&t.workers[k], i)
			}
		})
	}
	all.Wait()
}

// spans calls f for pieces of 0..n of at most size.
func (t *team[T]) spans(n, size int, f func(from, to int)) {
	t.each((n+size-1)/size, func(_ *worker[T], i int) { f(i*size, min(n, (i+1)*size)) })
}

// mul computes dst = a*b, or dst += a*b with add. The rows of dst are contiguous.
func (t *team[T]) mul(dst, a, b view[T], add bool) {
	high := (dst.rows + len(t.workers) - 1) / len(t.workers)
	high = min(blockRows, (high+tileRows-1)/tileRows*tileRows)
	if high == 0 || dst.cols == 0 {
		return
	}
	down, across := (dst.rows+high-1)/high, (dst.cols+blockCols-1)/blockCols
	t.each(down*across, func(w *worker[T], i int) {
		r, c := i%down*high, i/down*blockCols
		rows, cols := min(high, dst.rows-r), min(blockCols, dst.cols-c)
		w.block(dst.part(r, rows, c, cols), a.part(r, rows, 0, a.cols), b.part(0, b.rows, c, cols), add)
	})
}

// mul is team.mul by one worker.
func (w *worker[T]) mul(dst, a, b view[T], add bool) {
	for r := 0; r < dst.rows; r += blockRows {
		for c := 0; c < dst.cols; c += blockCols {
			rows, cols := min(blockRows, dst.rows-r), min(blockCols, dst.cols-c)
			w.block(dst.part(r, rows, c, cols), a.part(r, rows, 0, a.cols), b.part(0, b.rows, c, cols), add)
		}
	}
}

// block computes a result of at most blockRows by blockCols.
func (w *worker[T]) block(dst, a, b view[T], add bool) {
	for k := 0; k < a.cols; k += blockK {
		n := min(blockK, a.cols-k)
		pack(w.a, a.part(0, a.rows, k, n), tileRows)
		pack(w.b, b.part(k, n, 0, b.cols).transposed(), tileCols)
		for c := 0; c < dst.cols; c += tileCols {
			for r := 0; r < dst.rows; r += tileRows {
				w.tile(dst.part(r, min(tileRows, dst.rows-r), c, min(tileCols, dst.cols-c)), w.a[r*n:], w.b[c*n:], n, add || k > 0)
			}
		}
	}
}

// pack lays rows out in panels of height rows, column by column. Missing rows keep what was there: what a tile makes of them isn't read.
func pack[T real](dst []T, m view[T], height int) {
	for r := 0; r < m.rows; r += height {
		panel := dst[r*m.cols : (r+height)*m.cols]
		rows := min(height, m.rows-r)
		if m.rs == 1 && rows == height {
			for c := range m.cols {
				copy(panel[c*height:(c+1)*height], m.v[r+c*m.cs:r+c*m.cs+height])
			}
			continue
		}
		for i := range rows {
			from := m.v[(r+i)*m.rs:]
			if m.cs == 1 {
				at := i
				for _, x := range from[:m.cols] {
					panel[at] = x
					at += height
				}
				continue
			}
			for c := range m.cols {
				panel[c*height+i] = from[c*m.cs]
			}
		}
	}
}

// tile multiplies one panel of each factor. A tile at the edge goes by way of a whole one.
func (w *worker[T]) tile(dst view[T], a, b []T, k int, add bool) {
	if dst.rows == tileRows && dst.cols == tileCols {
		whole(dst.v, dst.rs, a, b, k, add)
		return
	}
	whole(w.edge[:], tileCols, a, b, k, false)
	for r := range dst.rows {
		row := dst.v[r*dst.rs : r*dst.rs+dst.cols]
		for c, x := range w.edge[r*tileCols : r*tileCols+dst.cols] {
			if add {
				row[c] += x
			} else {
				row[c] = x
			}
		}
	}
}

func whole[T real](c []T, stride int, a, b []T, k int, add bool) {
	_, _, _ = a[k*tileRows-1], b[k*tileCols-1], c[(tileRows-1)*stride+tileCols-1] // the assembly trusts the lengths
	if haveAVX2 && unsafe.Sizeof(c[0]) == 4 {
		more := 0
		if add {
			more = 1
		}
		tileAVX2((*float32)(unsafe.Pointer(&c[0])), stride, (*float32)(unsafe.Pointer(&a[0])), (*float32)(unsafe.Pointer(&b[0])), k, more)
		return
	}
	wholePlain(c, stride, a, b, k, add)
}

// wholePlain is a tile without wide registers: two rows by four columns at a time, which is what sixteen registers hold.
func wholePlain[T real](c []T, stride int, a, b []T, k int, add bool) {
	for r := 0; r < tileRows; r += 2 {
		for n := 0; n < tileCols; n += 4 {
			var s00, s01, s02, s03, s10, s11, s12, s13 T
			x, y := a[r:], b[n:]
			for i := range k {
				u, v := x[i*tileRows], x[i*tileRows+1]
				z := y[i*tileCols : i*tileCols+4 : i*tileCols+4]
				s00 += u * z[0]
				s01 += u * z[1]
				s02 += u * z[2]
				s03 += u * z[3]
				s10 += v * z[0]
				s11 += v * z[1]
				s12 += v * z[2]
				s13 += v * z[3]
			}
			put4(c[r*stride+n:], s00, s01, s02, s03, add)
			put4(c[(r+1)*stride+n:], s10, s11, s12, s13, add)
		}
	}
}

func put4[T real](c []T, s0, s1, s2, s3 T, add bool) {
	c = c[:4]
	if add {
		s0, s1, s2, s3 = c[0]+s0, c[1]+s1, c[2]+s2, c[3]+s3
	}
	c[0], c[1], c[2], c[3] = s0, s1, s2, s3
}
