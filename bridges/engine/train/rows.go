package train

// row is one example: its tokens, and which of them are to be learnt.
type row struct {
	tokens []int32
	learn  []bool
}
