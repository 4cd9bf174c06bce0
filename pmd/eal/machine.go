package eal

/*
#include "eal_init.h"
#include <rte_cycles.h>
#include <rte_version.h>
*/
import "C"

// Version is the version of the DPDK libraries in use, such as "DPDK 22.11.11".
func Version() string { return C.GoString(C.rte_version()) }

// TSCHz is the frequency of the time stamp counter in cycles per second, as DPDK measured it at Start.
func TSCHz() uint64 { return uint64(C.rte_get_tsc_hz()) }

// CPUFlags lists the CPU features that this machine has, in DPDK's names, such as "AES" and "AVX512F".
func CPUFlags() []string {
	var flags []string
	for i := range C.sp_cpu_flag_count() {
		if name := C.sp_cpu_flag(i); name != nil {
			flags = append(flags, C.GoString(name))
		}
	}
	return flags
}
