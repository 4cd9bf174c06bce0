package offload

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	"sallyport/pmd/eal"
	"sallyport/pmd/ethdev"
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

// runTests starts the EAL, which a process can do once.
func runTests(m *testing.M) int {
	environment, err := eal.Start(eal.Config{HugePages: eal.HugePagesOff, MemoryMB: 256, LogLevel: "error"}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if ports := ethdev.Ports(); len(ports) != 0 {
		fmt.Fprintln(os.Stderr, "tests left ports open:", ports)
		code = 1
	}
	if err := environment.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
