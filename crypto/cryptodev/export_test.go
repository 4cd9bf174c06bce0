package cryptodev

import "unsafe"

// Vectors reports whether AES-GCM is done by gcm.c, as on a processor that has the instructions.
func Vectors() bool { return ipsecMB().vectors }

// SelfTest is the test at start with another of libIPSec_MB's managers.
func SelfTest(manager unsafe.Pointer) bool { return selfTest(like(manager, ipsecMB().manager)) }

// like names a type that tests cannot: they may not use cgo.
func like[T any](p unsafe.Pointer, _ *T) *T { return (*T)(p) }
