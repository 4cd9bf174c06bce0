package eal

/*
#include "eal_init.h"
#include <rte_lcore.h>
*/
import "C"

import (
	"fmt"
	"syscall"
)

// RegisterThread makes the calling thread a DPDK thread and returns its lcore id, with which DPDK indexes mempool caches and
// the like. The goroutine must be locked to its thread (runtime.LockOSThread) until UnregisterThread. Set the thread's CPU
// affinity first: DPDK takes the NUMA socket from it.
func RegisterThread() (lcore int, err error) {
	err = Explain(func() error {
		lcore = int(C.sp_thread_register())
		if lcore < 0 {
			return fmt.Errorf("registering a thread with DPDK, at most %d: %w", C.RTE_MAX_LCORE, syscall.Errno(-lcore))
		}
		return nil
	})
	return lcore, err
}

// UnregisterThread undoes RegisterThread, on the same thread. On a thread that is not registered it does nothing.
func UnregisterThread() { C.rte_thread_unregister() }
