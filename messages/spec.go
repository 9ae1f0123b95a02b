package messages

import "google.golang.org/protobuf/proto"

// Clone is a deep copy, for who changes a declaration that others share.
func (s *ModelSpec) Clone() *ModelSpec { return proto.CloneOf(s) }
