package messages

// The sources of a declaration, in ModelSpec.declared_by. A model that the configuration declares is withdrawn when the configuration no longer
// names it; one that was declared by the API stays.
const (
	DeclaredByConfig = "config"
	DeclaredByAPI    = "api"
)

// IsDeclared tells whether a model's host declares it: it isn't withdrawn, and no replica, which comes and goes with its model.
func IsDeclared(v *ModelView) bool { return v.GetSpec() != nil && v.Spec.ReplicaOf == "" }
