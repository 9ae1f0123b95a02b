package train

import "modelops/bridges/engine"

// networkOf computes with a model's own values: what is trained is what the engine answers with.
func networkOf(w *engine.Weights, threads int) (*network[float32], error) {
	var tensors []*tensor[float32]
	for _, t := range w.Tensors {
		if t.Values == nil {
			continue
		}
		cols := int(t.Dims[0])
		tensors = append(tensors, &tensor[float32]{name: t.Name, rows: len(t.Values) / cols, cols: cols, w: t.Values})
	}
	return newNetwork(w.Shape, tensors, threads)
}
