package messages

// Who declared a model, as ModelSpec.declared_by says. What the configuration declares goes with the configuration; the rest stays.
const (
	DeclaredByConfig = "config"
	DeclaredByAPI    = "api"
)
