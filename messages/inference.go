package messages

import "math"

// CheckInference refuses a request that no model can answer, before it costs a place in a queue. The error is InvalidArgument and names the field.
func CheckInference(r *InferenceRequest) error {
	invalid := func(field, what, hint string) error { return NewError(InvalidArgument, field, what).WithHint(hint) }
	switch {
	case r.ModelName == "":
		return invalid("model_name", "it is empty", "name a model of ListModels")
	case r.Prompt == "" && len(r.Messages) == 0:
		return invalid("prompt", "there is neither a prompt nor messages", "send one of them")
	case r.Prompt != "" && len(r.Messages) > 0:
		return invalid("prompt", "there are both a prompt and messages", "send one of them")
	case r.MaxTokens < 0:
		return invalid("max_tokens", "it is negative", "leave it out for 100, or send 1 or more")
	case r.Temperature != nil && !(*r.Temperature >= 0 && !math.IsInf(float64(*r.Temperature), 0)): // !(x >= 0) refuses NaN too
		return invalid("temperature", "it is negative or no number", "0 is greedy; leave it out for 0.7")
	}
	return nil
}
