package crypto

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"runtime"
)

// redacted is what a Secret shows of itself, everywhere.
const redacted = "[secret]"

// Secret holds a key, a preshared key or any other octets that must never be
// seen. It prints as "[secret]" under every fmt verb, in slog, JSON and text.
//
// A Secret is a handle: copies share the same memory and Wipe clears it for all
// of them. The octets sit behind two pointers because fmt reads the unexported
// fields of a struct without asking their methods. It stops at a pointer, but under
// a verb that does not fit it follows one.
//
// The zero value is an empty Secret.
type Secret struct {
	_    [0]func() // refuses ==, which would compare handles: use Equal
	held *heldSecret
}

type heldSecret struct {
	octets *[]byte
}

// NewSecret takes ownership of b: the caller must neither use nor keep it.
func NewSecret(b []byte) Secret {
	return Secret{held: &heldSecret{octets: &b}}
}

// Bytes returns the octets themselves, not a copy. They must not be kept beyond
// the life of the Secret.
func (s Secret) Bytes() []byte {
	if s.held == nil {
		return nil
	}
	return *s.held.octets
}

// Len returns the number of octets.
func (s Secret) Len() int { return len(s.Bytes()) }

// Clone copies the octets into a Secret with a life of its own.
func (s Secret) Clone() Secret {
	return NewSecret(append([]byte(nil), s.Bytes()...))
}

// Equal compares in time that depends on the lengths only.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare(s.Bytes(), other.Bytes()) == 1
}

// Wipe overwrites the octets with zeros and forgets them; Len is 0 afterwards.
func (s Secret) Wipe() {
	if s.held == nil {
		return
	}
	Wipe(*s.held.octets)
	*s.held.octets = nil
}

// conceal hides a value that has a key inside from fmt, which shows no more of a
// function than its address.
func conceal[T any](value T) func() T { return func() T { return value } }

// Wipe overwrites b with zeros.
func Wipe(b []byte) {
	clear(b)
	// Keeps the stores from being taken for dead ones.
	runtime.KeepAlive(b)
}

// Format implements fmt.Formatter: no verb and no flag shows an octet.
func (Secret) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// String implements fmt.Stringer for callers that ask for it by name.
func (Secret) String() string { return redacted }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, which JSON uses as well.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
