package isakmp

import (
	"errors"
	"fmt"
)

// ErrTooShort says that a datagram ends before its ISAKMP header does: there are no cookies to answer to, so it gets silence.
var ErrTooShort = errors.New("isakmp message: shorter than its 28-octet header; drop it")

// SyntaxError says which rule of the format or of its exchange a message breaks. It quotes lengths, numbers and types, never the content of a payload.
type SyntaxError struct {
	Payload PayloadType // where; PayloadNone for the header or the message as a whole
	Notify  NotifyType  // the notification that RFC 2408 section 5 has for it
	Err     error       // what was expected and what was found
}

func (e *SyntaxError) Error() string {
	if e.Payload == PayloadNone {
		return fmt.Sprintf("isakmp message: %v", e.Err)
	}
	return fmt.Sprintf("isakmp message: %v payload: %v", e.Payload, e.Err)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

// malformed is the error of a payload, or of the chain of them, that is not laid out as it must be.
func malformed(where PayloadType, format string, args ...any) error {
	return refused(NotifyPayloadMalformed, where, format, args...)
}

func refused(notify NotifyType, where PayloadType, format string, args ...any) error {
	return &SyntaxError{Payload: where, Notify: notify, Err: fmt.Errorf(format, args...)}
}

// reason is an error within a payload that has a notification of its own; all others are answered with PAYLOAD-MALFORMED.
type reason struct {
	notify NotifyType
	err    error
}

func (r *reason) Error() string { return r.err.Error() }
func (r *reason) Unwrap() error { return r.err }

func reasonf(notify NotifyType, format string, args ...any) error {
	return &reason{notify: notify, err: fmt.Errorf(format, args...)}
}

// inPayload wraps the error of a payload's own rules.
func inPayload(where PayloadType, err error) error {
	var r *reason
	if errors.As(err, &r) {
		return &SyntaxError{Payload: where, Notify: r.notify, Err: err}
	}
	return &SyntaxError{Payload: where, Notify: NotifyPayloadMalformed, Err: err}
}

// VersionError says that a message has another major version than 1. Version 2 is IKEv2, which shares the layout of the header.
type VersionError struct{ Major, Minor uint8 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("isakmp message: version %d.%d, expected major version 1", e.Major, e.Minor)
}

// RuleError says that a well-formed message has too few or too many payloads of one type for its exchange. It comes wrapped in a [SyntaxError].
type RuleError struct {
	Message  Kind
	Payload  PayloadType
	Min, Max int
	Found    int
}

func (e *RuleError) Error() string {
	switch {
	case e.Max == 0:
		return fmt.Sprintf("%v has %d %v payloads, expected none", e.Message, e.Found, e.Payload)
	case e.Min == e.Max:
		return fmt.Sprintf("%v has %d %v payloads, expected %d", e.Message, e.Found, e.Payload, e.Min)
	default:
		return fmt.Sprintf("%v has %d %v payloads, expected %d to %d", e.Message, e.Found, e.Payload, e.Min, e.Max)
	}
}

// NotifyFor gives the type of the notification that answers a message refused with err, or 0 when silence is the answer. Whether a reply may
// be sent at all (the message was authenticated, it was not itself informational) is the caller's to decide.
func NotifyFor(err error) NotifyType {
	var version *VersionError
	var syntax *SyntaxError
	switch {
	case errors.As(err, &version):
		return NotifyInvalidMajorVersion
	case errors.As(err, &syntax):
		return syntax.Notify
	default:
		return 0
	}
}
