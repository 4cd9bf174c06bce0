package wire

import (
	"errors"
	"fmt"
)

// ErrTooShort says that a datagram ends before its IKE header does: there is no SPI to answer to, so it gets silence.
var ErrTooShort = errors.New("ike message: shorter than its 28-octet header; drop it")

// SyntaxError says which rule of the format or of its exchange a message breaks. It is answered with INVALID_SYNTAX, and only when the message
// came authenticated (RFC 7296 2.21). It quotes lengths, numbers and types, never the content of a payload.
type SyntaxError struct {
	Payload PayloadType // where; PayloadNone for the header or the message as a whole
	Err     error       // what was expected and what was found
}

func (e *SyntaxError) Error() string {
	if e.Payload == PayloadNone {
		return fmt.Sprintf("ike message: %v", e.Err)
	}
	return fmt.Sprintf("ike message: %v payload: %v", e.Payload, e.Err)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

func syntaxf(where PayloadType, format string, args ...any) error {
	return &SyntaxError{Payload: where, Err: fmt.Errorf(format, args...)}
}

// CriticalError says that a message has a payload of unknown type with its critical bit set: the whole message is refused
// with UNSUPPORTED_CRITICAL_PAYLOAD (RFC 7296 2.5).
type CriticalError struct{ Type PayloadType }

func (e *CriticalError) Error() string {
	return fmt.Sprintf("ike message: payload type %d is unknown and critical; refuse the message", uint8(e.Type))
}

// VersionError says that a message has another major version than 2. A higher one is answered with INVALID_MAJOR_VERSION (RFC 7296 2.5);
// version 1 is IKEv1, which shares the layout of the header.
type VersionError struct{ Major, Minor uint8 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("ike message: version %d.%d, expected major version 2", e.Major, e.Minor)
}

// RuleError says that a well-formed message has too few or too many payloads of one type for its exchange. It comes wrapped in a [SyntaxError].
type RuleError struct {
	Message  string // the kind of message, as the rule table names it
	Payload  PayloadType
	Min, Max int
	Found    int
}

func (e *RuleError) Error() string {
	switch {
	case e.Max == 0:
		return fmt.Sprintf("%s has %d %v payloads, expected none", e.Message, e.Found, e.Payload)
	case e.Min == e.Max:
		return fmt.Sprintf("%s has %d %v payloads, expected %d", e.Message, e.Found, e.Payload, e.Min)
	default:
		return fmt.Sprintf("%s has %d %v payloads, expected %d to %d", e.Message, e.Found, e.Payload, e.Min, e.Max)
	}
}

// NotifyFor gives the notification that answers a message refused with err, or nil when silence is the answer. Whether a reply may
// be sent at all (the message was authenticated, it was a request) is the caller's to decide.
func NotifyFor(err error) *Notify {
	var critical *CriticalError
	var version *VersionError
	var syntax *SyntaxError
	switch {
	case errors.As(err, &critical):
		return UnsupportedCriticalPayload(critical.Type)
	case errors.As(err, &version):
		if version.Major < Major {
			return nil
		}
		return InvalidMajorVersion()
	case errors.As(err, &syntax):
		return NewNotify(NotifyInvalidSyntax, nil)
	default:
		return nil
	}
}
