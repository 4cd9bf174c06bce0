package devicetest

/*
#include <rte_malloc.h>
#include <rte_memory.h>
#include <rte_memzone.h>

static void count(const struct rte_memzone *zone, void *user)
{
	(void)zone;
	++*(uint32_t *)user;
}

static uint32_t zones(void)
{
	uint32_t n = 0;

	rte_memzone_walk(count, &n);
	return n;
}

static size_t heap(void)
{
	struct rte_malloc_socket_stats stats;
	size_t total = 0;

	for (int socket = 0; socket < RTE_MAX_NUMA_NODES; socket++)
		if (rte_malloc_get_socket_stats(socket, &stats) == 0)
			total += stats.heap_allocsz_bytes;
	return total;
}
*/
import "C"

// Memory is what is taken of DPDK's memory: zones, such as a ring has, and octets in all.
func Memory() (zones, octets int) { return int(C.zones()), int(C.heap()) }
