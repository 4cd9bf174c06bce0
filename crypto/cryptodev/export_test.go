package cryptodev

import (
	"sync"
	"unsafe"
)

// Vectors reports whether AES-GCM is done by gcm.c, as on a processor that has the instructions.
func Vectors() bool { return ipsecMB().vectors }

// SelfTest is the test at start with another of libIPSec_MB's managers.
func SelfTest(manager unsafe.Pointer) bool { return selfTest(like(manager, ipsecMB().manager)) }

// like names a type that tests cannot: they may not use cgo.
func like[T any](p unsafe.Pointer, _ *T) *T { return (*T)(p) }

// WithoutAgreement has the test at start fail until undo is called.
func WithoutAgreement() (undo func()) {
	before := ipsecMB
	ipsecMB = sync.OnceValue(func() libIPSecMB { return findIPSecMB(never(selfTest)) })
	return func() { ipsecMB = before }
}

func never[T any](func(T) bool) func(T) bool { return func(T) bool { return false } }
