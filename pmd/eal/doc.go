// Package eal starts and stops DPDK's environment abstraction layer, once per process.
//
// Start chooses huge pages or ordinary memory, runs rte_eal_init on a thread of its own, and hands DPDK's log lines to slog.
// It leaves the process as it found it: the CPU affinity of all Go threads is unchanged (rte_eal_init pins the thread that
// calls it, and Go derives GOMAXPROCS from the mask), nothing is kept on disk (--in-memory, no telemetry socket), and several
// processes on one machine share nothing.
//
// Go threads are no DPDK threads. A locked goroutine that uses per-thread DPDK state (mempool caches, RCU) registers itself
// with RegisterThread.
package eal
