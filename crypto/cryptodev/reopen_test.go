package cryptodev_test

import (
	"testing"

	"sallyport/crypto/cryptodev"
	"sallyport/crypto/cryptodev/internal/devicetest"
)

// Opening and closing the same devices over and over takes next to no memory, and queues may be longer than those before. DPDK 22.11 keeps one queue pair, which
// cannot be released.
func TestReopen(t *testing.T) {
	for name, each := range map[string]int{ // octets of memory at most
		"crypto_openssl_again": 1536, "crypto_aesni_mb_again": 1536, "crypto_null_again": 1536,
		"crypto_scheduler_again,worker=crypto_openssl_againa,worker=crypto_openssl_againb,mode=round-robin": 4608,
	} {
		t.Run(name, func(t *testing.T) {
			cycle := func(descriptors int) {
				t.Helper()
				pool, err := cryptodev.Open(cryptodev.Options{Devices: []string{name}, QueuePairs: 3, Sessions: 8, Descriptors: descriptors, Socket: cryptodev.SocketAny})
				if err != nil {
					t.Fatal(err)
				}
				if err := pool.Close(); err != nil {
					t.Fatal(err)
				}
			}
			cycle(64)
			zones, octets := devicetest.Memory()
			for range 20 {
				cycle(64)
			}
			zonesAfter, octetsAfter := devicetest.Memory()
			if zonesAfter != zones || octetsAfter-octets > 20*each {
				t.Errorf("20 times open and closed took %d zones and %d octets of memory", zonesAfter-zones, octetsAfter-octets)
			}
			cycle(4096)
			if zonesLarge, octetsLarge := devicetest.Memory(); zonesLarge != zones || octetsLarge-octetsAfter > each {
				t.Errorf("a longer queue took %d zones and %d octets", zonesLarge-zones, octetsLarge-octetsAfter)
			}
		})
	}
}
