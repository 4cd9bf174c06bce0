package pipeline

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	"sallyport/crypto/cryptodev"
	"sallyport/pmd/eal"
	"sallyport/pmd/ethdev"
)

// Crypto devices of the tests: those that a gateway takes by itself, with AES-GCM by libIPSec_MB directly; one that
// does AES-GCM by cpu-crypto; and the fallback, which does all by enqueue and dequeue.
var (
	defaultCrypto  *cryptodev.Pool
	cpuCrypto      *cryptodev.Pool
	fallbackCrypto *cryptodev.Pool
)

const testWorkers = 2

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) (code int) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	env, err := eal.Start(eal.Config{HugePages: eal.HugePagesOff, MemoryMB: 512}, slog.New(slog.DiscardHandler))
	if err != nil {
		fail(err)
		return code
	}
	defer func() { fail(env.Stop()) }()
	options := cryptodev.Options{QueuePairs: testWorkers, Sessions: 256, Socket: cryptodev.SocketAny}
	if defaultCrypto, err = cryptodev.Open(options); err != nil {
		fail(err)
		return code
	}
	defer func() { fail(defaultCrypto.Close()) }()
	options.Devices = []string{"crypto_aesni_mb_cpu"}
	if cpuCrypto, err = cryptodev.Open(options); err != nil {
		fail(err)
		return code
	}
	defer func() { fail(cpuCrypto.Close()) }()
	options.Devices = []string{"crypto_openssl_fallback"}
	if fallbackCrypto, err = cryptodev.Open(options); err != nil {
		fail(err)
		return code
	}
	defer func() { fail(fallbackCrypto.Close()) }()
	code = m.Run()
	if ports := ethdev.Ports(); len(ports) != 0 {
		fail(fmt.Errorf("tests left ports open: %v", ports))
	}
	return code
}
