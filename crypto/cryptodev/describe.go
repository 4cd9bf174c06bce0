package cryptodev

/*
#include <stdlib.h>
#include "session.h"
*/
import "C"

import (
	"runtime"
	"unsafe"

	"sallyport/crypto"
)

// What others need who make sessions of suites with DPDK, such as those of rte_security.

// RefusedBy says why a table of capabilities (struct rte_cryptodev_capabilities) has not what a suite of ESP needs, or nothing if
// it has.
func RefusedBy(table unsafe.Pointer, s crypto.Suite, esn bool) string {
	t := transformOf(s, esn)
	return refusalOf(C.spcrypto_check_table((*C.struct_rte_cryptodev_capabilities)(table), &t), s, &t)
}

// WithTransform lends use a suite of ESP with its keys as DPDK describes it (struct rte_crypto_sym_xform). The salt stands right
// behind the key of the cipher, where some drivers look for it. Nothing of it may be kept.
func WithTransform(s crypto.Suite, keymat crypto.Secret, esn, encrypt bool, use func(xform unsafe.Pointer)) {
	t, octets := transformOf(s, esn), keymat.Bytes()
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&octets[0])
	xforms := (*C.struct_rte_crypto_sym_xform)(C.calloc(2, C.sizeof_struct_rte_crypto_sym_xform))
	defer C.free(unsafe.Pointer(xforms))
	key, integKey := keysIn(octets, s)
	C.spcrypto_fill(xforms, &t, key, integKey, truth(encrypt))
	use(unsafe.Pointer(xforms))
}
