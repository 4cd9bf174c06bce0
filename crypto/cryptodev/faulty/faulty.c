#define _GNU_SOURCE /* RTLD_NEXT */

#include "faulty.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cryptodev.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_memory.h>

#define PAIRS 8
#define KEPT 4096
#define BURST 32 /* that all users of a device here ask for */

struct pair {
	struct rte_cryptodev_cb *enqueue, *dequeue;
	struct rte_crypto_op *kept[KEPT];
	uint32_t n_kept, seen;
};

enum stops {
	AT_ONCE,
	SLOWLY,
	STOPPING, /* slowly */
};

struct faults {
	uint32_t kind; /* enum faulty_kind */
	uint32_t nth, sessions, most;
	uint16_t front, behind;
	int late;
	uint32_t stops; /* enum stops */
	uint16_t n_pairs;
	struct pair *pairs;
};

static struct faults table[RTE_CRYPTO_MAX_DEVS];

static void keep(struct pair *p, struct rte_crypto_op *const *ops, uint16_t n)
{
	if (n > KEPT - p->n_kept)
		abort();
	memcpy(p->kept + p->n_kept, ops, n * sizeof(*ops));
	p->n_kept += n;
}

/* The first that were kept, or the last, as many as a burst has room for. */
static uint16_t give_back(struct pair *p, struct rte_crypto_op **ops, uint16_t n, int last_first)
{
	while (n < BURST && p->n_kept > 0) {
		p->n_kept--;
		if (last_first) {
			ops[n++] = p->kept[p->n_kept];
			continue;
		}
		ops[n++] = p->kept[0];
		memmove(p->kept, p->kept + 1, p->n_kept * sizeof(*ops));
	}
	return n;
}

static uint16_t on_enqueue(uint16_t device, uint16_t pair, struct rte_crypto_op **ops, uint16_t n, void *user)
{
	const uint32_t kind = __atomic_load_n(&table[device].kind, __ATOMIC_RELAXED);

	(void)pair;
	(void)ops;
	(void)user;
	if (kind == FAULTY_REFUSE)
		return 0;
	return kind == FAULTY_FEW && n > 1 ? 1 : n;
}

static uint16_t on_dequeue(uint16_t device, uint16_t pair, struct rte_crypto_op **ops, uint16_t n, void *user)
{
	const uint32_t kind = __atomic_load_n(&table[device].kind, __ATOMIC_RELAXED);
	struct pair *p = &table[device].pairs[pair];

	(void)user;
	switch (kind) {
	case FAULTY_MUTE:
		keep(p, ops, n);
		return 0;
	case FAULTY_KEEP:
		if (n == 0 || p->n_kept > 0)
			return n;
		keep(p, ops, 1);
		memmove(ops, ops + 1, (n - 1) * sizeof(*ops));
		return (uint16_t)(n - 1);
	case FAULTY_SHUFFLE:
		if (n > 0) {
			keep(p, ops, n);
			return 0;
		}
		return give_back(p, ops, 0, 1);
	case FAULTY_ERROR:
		for (uint16_t i = 0; i < n; i++)
			if (p->seen++ % 2 == 1)
				ops[i]->status = RTE_CRYPTO_OP_STATUS_ERROR;
		return n;
	case FAULTY_BROKEN:
		for (uint16_t i = 0; i < n; i++)
			ops[i]->status = RTE_CRYPTO_OP_STATUS_ERROR;
		return n;
	case FAULTY_REPEAT:
		for (uint16_t i = n; i > 0 && n < BURST; i--)
			ops[n++] = ops[i - 1];
		return n;
	default:
		/* what the device has finished by now stands behind what was kept */
		if (p->n_kept == 0)
			return n;
		keep(p, ops, n);
		return give_back(p, ops, 0, 0);
	}
}

static int remove_callbacks(uint8_t device)
{
	struct faults *f = &table[device];
	int status = 0;

	for (uint16_t i = 0; i < f->n_pairs && status == 0; i++) {
		if (f->pairs[i].enqueue != NULL)
			status = rte_cryptodev_remove_enq_callback(device, i, f->pairs[i].enqueue);
		if (status == 0 && f->pairs[i].dequeue != NULL)
			status = rte_cryptodev_remove_deq_callback(device, i, f->pairs[i].dequeue);
	}
	return status;
}

int faulty_attach(uint8_t device, uint16_t queue_pairs)
{
	struct faults *f = &table[device];

	if (queue_pairs > PAIRS || f->pairs != NULL)
		return -EINVAL;
	*f = (struct faults){.n_pairs = queue_pairs, .pairs = calloc(queue_pairs, sizeof(struct pair))};
	if (f->pairs == NULL)
		return -ENOMEM;
	for (uint16_t i = 0; i < queue_pairs; i++) {
		f->pairs[i].enqueue = rte_cryptodev_add_enq_callback(device, i, on_enqueue, NULL);
		f->pairs[i].dequeue = rte_cryptodev_add_deq_callback(device, i, on_dequeue, NULL);
		if (f->pairs[i].enqueue == NULL || f->pairs[i].dequeue == NULL) {
			faulty_detach(device);
			return -rte_errno;
		}
	}
	return 0;
}

int faulty_detach(uint8_t device)
{
	struct faults *f = &table[device];
	int status = remove_callbacks(device);

	free(f->pairs);
	*f = (struct faults){0};
	return status;
}

void faulty_set(uint8_t device, enum faulty_kind kind)
{
	__atomic_store_n(&table[device].kind, kind, __ATOMIC_RELAXED);
}

void faulty_sessions(uint8_t device, uint32_t nth, int late)
{
	table[device].nth = nth;
	table[device].sessions = 0;
	table[device].late = late;
}

void faulty_most_sessions(uint8_t device, uint32_t most)
{
	table[device].most = most;
}

void faulty_room(uint8_t device, uint16_t front, uint16_t behind)
{
	table[device].front = front;
	table[device].behind = behind;
}

void faulty_stops_slowly(uint8_t device, int on)
{
	__atomic_store_n(&table[device].stops, on ? SLOWLY : AT_ONCE, __ATOMIC_RELEASE);
}

int faulty_is_stopping(uint8_t device)
{
	return __atomic_load_n(&table[device].stops, __ATOMIC_ACQUIRE) == STOPPING;
}

struct search {
	const uint8_t *octets;
	uint32_t length, found;
};

#define PAGE 4096

/* Most of the memory was never used, and is passed over a page at a time. Returns where there is something, or the end. */
static const uint8_t *skip_zeros(const uint8_t *at, const uint8_t *end)
{
	while (end - at >= PAGE && at[0] == 0 && memcmp(at, at + 1, PAGE - 1) == 0)
		at += PAGE;
	return at;
}

static const uint8_t *skip_used(const uint8_t *at, const uint8_t *end)
{
	while (end - at >= PAGE && skip_zeros(at, at + PAGE) == at)
		at += PAGE;
	return end - at < PAGE ? end : at;
}

static void search_run(struct search *s, const uint8_t *at, const uint8_t *end)
{
	while ((at = memmem(at, (size_t)(end - at), s->octets, s->length)) != NULL) {
		s->found++;
		at++;
	}
}

static int search_segments(const struct rte_memseg_list *list, const struct rte_memseg *segment, size_t length, void *user)
{
	const uint8_t *at = segment->addr, *end = at + length;

	(void)list;
	while ((at = skip_zeros(at, end)) < end) {
		const uint8_t *next = skip_used(at, end);

		search_run(user, at, next);
		at = next;
	}
	return 0;
}

uint32_t faulty_traces(const uint8_t *octets, uint32_t length)
{
	struct search s = {.octets = octets, .length = length};

	rte_memseg_contig_walk(search_segments, &s);
	return s.found;
}

/* ---- in place of the library's functions, since the binary comes first ---- */

static void *library(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (function == NULL)
		abort();
	return function;
}

void rte_cryptodev_stop(uint8_t device)
{
	void (*next)(uint8_t);
	uint32_t slowly = SLOWLY;

	*(void **)&next = library("rte_cryptodev_stop");
	__atomic_compare_exchange_n(&table[device].stops, &slowly, STOPPING, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	while (__atomic_load_n(&table[device].stops, __ATOMIC_ACQUIRE) != AT_ONCE)
		rte_delay_us_sleep(1000);
	next(device);
}

void *rte_cryptodev_sym_session_create(uint8_t device, struct rte_crypto_sym_xform *xforms, struct rte_mempool *pool)
{
	void *(*next)(uint8_t, struct rte_crypto_sym_xform *, struct rte_mempool *);
	struct faults *f = &table[device];
	const int fails = f->nth > 0 && ++f->sessions % f->nth == 0;
	void *session = NULL;

	*(void **)&next = library("rte_cryptodev_sym_session_create");
	if (!fails || f->late)
		session = next(device, xforms, pool);
	if (!fails)
		return session;
	if (session != NULL)
		rte_mempool_put(pool, session);
	rte_errno = ENOTSUP;
	return NULL;
}

void rte_cryptodev_info_get(uint8_t device, struct rte_cryptodev_info *info)
{
	void (*next)(uint8_t, struct rte_cryptodev_info *);

	*(void **)&next = library("rte_cryptodev_info_get");
	next(device, info);
	if (table[device].most > 0)
		info->sym.max_nb_sessions = table[device].most;
	if (table[device].front > 0)
		info->min_mbuf_headroom_req = table[device].front;
	if (table[device].behind > 0)
		info->min_mbuf_tailroom_req = table[device].behind;
}
