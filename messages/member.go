package messages

// NoMember refuses the name of a host that isn't in the cluster.
func NoMember(host string) *Error {
	return NewError(NotFound, "host "+host, "it is no member of this cluster").WithHint("modelops cluster lists the members")
}
