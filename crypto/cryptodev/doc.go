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
// A session says how the fast path has to use it. With CPU set it goes through
// rte_cryptodev_sym_cpu_crypto_process in the worker's own thread. Otherwise its
// operations go through enqueue and dequeue on the queue pair whose number is the
// worker's index, with the IV at IVOffset of the operation. AES-GCM takes the first
// way where the device offers it; AES-CBC with HMAC always takes the second, which
// crypto_aesni_mb is faster with because it fills its lanes from many packets.
//
// The EAL must be running. The package does not start it.
package cryptodev
