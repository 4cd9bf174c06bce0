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
// A session says how the fast path has to use it. With Direct set there is no device:
// the worker calls libIPSec_MB's function for one packet with the expanded key. That is
// how AES-GCM goes that crypto_aesni_gcm would take: the same library stands behind that
// driver, which starts, updates and finishes each packet in calls of their own. With CPU
// set the session goes through rte_cryptodev_sym_cpu_crypto_process in the worker's own
// thread: AES-GCM of other devices that offer it, and of crypto_aesni_gcm where the library
// fails its self-test. Otherwise its operations go through enqueue and dequeue on the queue
// pair whose number is the worker's index, with the IV at IVOffset of the operation. That
// is how AES-CBC with HMAC always goes, which crypto_aesni_mb is faster with because it
// fills its lanes from many packets.
//
// The EAL must be running. The package does not start it.
package cryptodev
