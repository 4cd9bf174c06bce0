#include "eal_init.h"

#include <errno.h>
#include <rte_cpuflags.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

// DPDK returns -1 with rte_errno set, or a negative errno, by function; some failures set neither.
static int
error_of(int result)
{
	if (result >= 0)
		return 0;
	if (rte_errno != 0)
		return -rte_errno;
	return result == -1 ? -EIO : result;
}

int
sp_eal_init(int argc, char **argv)
{
	rte_errno = 0;
	return error_of(rte_eal_init(argc, argv));
}

int
sp_eal_cleanup(void)
{
	rte_errno = 0;
	return error_of(rte_eal_cleanup());
}

int
sp_thread_register(void)
{
	rte_errno = 0;
	int result = error_of(rte_thread_register());

	return result < 0 ? result : (int)rte_lcore_id();
}

const char *
sp_cpu_flag(unsigned int index)
{
	if (rte_cpu_get_flag_enabled((enum rte_cpu_flag_t)index) != 1)
		return NULL;
	return rte_cpu_get_flag_name((enum rte_cpu_flag_t)index);
}

unsigned int
sp_cpu_flag_count(void)
{
	return RTE_CPUFLAG_NUMFLAGS;
}
