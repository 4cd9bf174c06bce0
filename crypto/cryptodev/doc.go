// Package cryptodev gives the data path its DPDK crypto sessions: it creates and
// starts the crypto devices, asks them what they can do, and makes a session on the
// first that can do a suite.
//
// Devices are asked in the order they are named. The default order is the speed
// order of the software drivers: crypto_aesni_gcm, which knows AES-GCM only, then
// crypto_aesni_mb, which takes the AES-CBC and HMAC chains, then crypto_openssl, which
// knows everything and is never fast. A device that lacks an algorithm is passed over
// with a reason that Describe shows; when none is left there is no session, and the
// caller must not send the traffic at all.
//
// A session says how the fast path has to use it. With Direct or Job set there is no device,
// but libIPSec_MB itself, which stands behind the drivers of both crypto_aesni devices and
// takes the sessions of those that the operator names. Direct: AES-GCM, which crypto_aesni_gcm
// would start, update and finish in calls of their own; the worker calls the library's function
// for one packet with the expanded key, or on processors that have the instructions that of gcm.c,
// which takes the same key and less time. Job: everything else that the library has; the worker
// copies the session's job into one of its own manager, fills in the packet, and gives the
// library a whole burst at once, so that it works on many packets side by side where an
// algorithm itself is serial. AH goes no other way, whatever devices are named.
//
// With CPU set the session goes through rte_cryptodev_sym_cpu_crypto_process in the worker's
// own thread: AES-GCM of devices that offer it. Otherwise its operations go through enqueue
// and dequeue on the queue pair whose number is the worker's index, with the IV at IVOffset
// of the operation: what the library lacks (AES-CCM with keys of 192 bits), or all where the
// library fails its self-test.
//
// The EAL must be running. The package does not start it.
package cryptodev
