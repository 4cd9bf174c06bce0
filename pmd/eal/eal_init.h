// The calls into the EAL that need more than one step on the same thread.
#ifndef SALLYPORT_PMD_EAL_INIT_H
#define SALLYPORT_PMD_EAL_INIT_H

#include <stdint.h>

// rte_eal_init with the arguments (argv ends with NULL). 0 or -errno.
int sp_eal_init(int argc, char **argv);

// rte_eal_cleanup. 0 or -errno.
int sp_eal_cleanup(void);

// Makes the calling thread known to DPDK; its lcore id, or -errno.
int sp_thread_register(void);

// The names of the CPU features that this machine has, one call per index; NULL for one that it lacks. sp_cpu_flag_count bounds
// the index.
const char *sp_cpu_flag(unsigned int index);
unsigned int sp_cpu_flag_count(void);

#endif
