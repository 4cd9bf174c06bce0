// Package ealtest runs the tests of a package on DPDK's environment, which a process can start once.
package ealtest

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	"sallyport/pmd/eal"
	"sallyport/pmd/ethdev"
)

// Run is what TestMain does: it starts the EAL with so many MB of memory, runs the tests, and fails if they leave ports open. It returns the exit code.
func Run(m *testing.M, memoryMB int) int {
	environment, err := eal.Start(eal.Config{HugePages: eal.HugePagesOff, MemoryMB: memoryMB, LogLevel: "error"}, slog.New(slog.DiscardHandler))
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
		code = 1
	}
	return code
}
