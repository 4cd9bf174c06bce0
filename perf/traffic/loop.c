/* SPDX-License-Identifier: Apache-2.0 */

#define _GNU_SOURCE

#include "loop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <rte_pause.h>

#define NAP 20000       /* ns */
#define HUGE_PAGE 2097152

void traffic_run(struct traffic_loop *l)
{
	const struct traffic_control *c = l->control;

	while (__atomic_load_n(&c->stop, __ATOMIC_RELAXED) == 0) {
		const uint64_t start = __atomic_load_n(&c->start, __ATOMIC_RELAXED);
		const int halt = (int)__atomic_load_n(&c->halt, __ATOMIC_RELAXED);
		uint32_t worked = 0;

		for (uint32_t i = 0; i < l->n_receivers; i++)
			worked += traffic_receive(l->receivers[i]);
		for (uint32_t i = 0; i < l->n_senders; i++)
			worked += traffic_send(l->senders[i], start, halt);
		if (worked == 0 && l->sleep)
			nanosleep(&(struct timespec){.tv_nsec = NAP}, NULL);
		else if (worked == 0)
			rte_pause();
		__atomic_store_n(&l->rounds, l->rounds + 1, __ATOMIC_RELEASE);
	}
}

void *traffic_memory(uint64_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	if (size >= HUGE_PAGE)
		(void)madvise(memory, size, MADV_HUGEPAGE); /* quicker, and sound without */
	return memory;
}

void traffic_memory_free(void *memory, uint64_t size, int secret)
{
	if (memory == NULL)
		return;
	if (secret)
		explicit_bzero(memory, size);
	(void)munmap(memory, size);
}
