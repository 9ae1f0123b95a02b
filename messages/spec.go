package messages

import "google.golang.org/protobuf/proto"

// Clone is a deep copy, for who changes a declaration that others share.
func (s *ModelSpec) Clone() *ModelSpec { return proto.CloneOf(s) }

// Clone is a deep copy, for who changes a recipe that others share.
func (r *Recipe) Clone() *Recipe { return proto.CloneOf(r) }
