package ikev1

import (
	"fmt"

	"sallyport/ike"
)

// failure is why a negotiation cannot succeed.
type failure struct {
	reason ike.Reason
	detail string // for people
	told   bool   // the peer has said so, and need not be
	word   string // by which it has
}

func (f *failure) Error() string { return fmt.Sprintf("%s: %s", f.reason, f.detail) }

func failf(reason ike.Reason, format string, args ...any) error {
	return &failure{reason: reason, detail: fmt.Sprintf(format, args...)}
}
