package appliance

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	"sallyport/crypto/cryptodev"
	"sallyport/pmd/eal"
	"sallyport/pmd/ethdev"
)

// What all gateways of the tests share.
var (
	testEnvironment *eal.Environment
	testCrypto      *cryptodev.Pool
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

// runTests starts the EAL, which a process can do once.
func runTests(m *testing.M) (code int) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	env, err := eal.Start(eal.Config{HugePages: eal.HugePagesOff, MemoryMB: 384}, slog.New(slog.DiscardHandler))
	if err != nil {
		fail(err)
		return code
	}
	testEnvironment = env
	defer func() { fail(env.Stop()) }()
	if testCrypto, err = cryptodev.Open(cryptodev.Options{QueuePairs: 1, Sessions: 512, Socket: cryptodev.SocketAny}); err != nil {
		fail(err)
		return code
	}
	defer func() { fail(testCrypto.Close()) }()
	code = m.Run()
	if ports := ethdev.Ports(); len(ports) != 0 {
		fail(fmt.Errorf("tests left ports open: %v", ports))
	}
	return code
}
