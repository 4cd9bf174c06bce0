package policy

// The default response rule (S-009): it exists in every policy, its name, list and action are fixed, and the filters of
// its list are made of what peers propose.
const (
	DefaultResponseRule = "<Default Response>"
	DynamicList         = "<Dynamic>"
)

// DefaultResponse is what an operator may set of the default response rule. It is off unless enabled.
type DefaultResponse struct {
	Enabled     bool
	Methods     []string // ESP proposals in order of preference
	AuthMethods []string // in order of preference
}

// DynamicFilter is traffic that a peer proposed to protect and that the default response rule took.
type DynamicFilter struct {
	Tunnel   string
	Selector Selector
}
