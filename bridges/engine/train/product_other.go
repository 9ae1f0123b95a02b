//go:build !amd64

package train

var haveAVX2 = false

func tileAVX2(c *float32, stride int, a, b *float32, k, add int) { panic("no AVX2") }
