package traffic

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	"sallyport/pmd/eal"
)

func TestMain(m *testing.M) {
	env, err := eal.Start(eal.Config{HugePages: eal.HugePagesOff, MemoryMB: 512}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
