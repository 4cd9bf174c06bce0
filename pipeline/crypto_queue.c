/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The worker's end of a crypto device. Each worker has one queue pair of each device, and operations that find it full wait behind it, in order. The device gives back what it has
 * finished in whatever order; only what it was given and has not given back yet counts.
 *
 * A device that gives no sign of life is lost, and so is one that fails all outbound packets: what it has is dropped, but stays where it is, since the device may write to it until it is stopped (sp_device_release).
 */

#include "crypt.h"

/*
 * A device that does nothing for as long is lost. The time counts from look to look and at most LOOK of it, so that a worker, or a machine, that was stopped for a while asks again
 * before it gives up.
 */
#define LOST_MILLISECONDS 1000
#define LOOK_MILLISECONDS 10

static inline uint32_t waiting(const struct sp_async_queue *q)
{
	return q->put - q->taken;
}

static int is_lost(const struct sp_worker *w, const struct sp_async_queue *q)
{
	return __atomic_load_n(&w->dp->lost[q - w->devices], __ATOMIC_RELAXED);
}

/* The operation is over, and no epoch waits for it. */
static void end(struct sp_worker *w, const struct sp_mbuf_priv *priv)
{
	w->unfinished[priv->phase]--;
	w->in_flight--;
}

static void drop(struct sp_worker *w, struct rte_crypto_op *op, uint8_t reason)
{
	end(w, sp_op_priv(op));
	sp_drop(w, sp_priv_mbuf(sp_op_priv(op)), reason);
}

/* ---- signs of life ---- */

static void answered(struct sp_worker *w, struct sp_async_queue *q)
{
	q->silent = 0;
	q->looked = w->now;
}

/* A look at a device that has something to do and does nothing. Another worker may find it lost at the same time. */
static void unanswered(struct sp_worker *w, struct sp_async_queue *q)
{
	const uint64_t millisecond = rte_get_tsc_hz() / 1000;

	q->silent += RTE_MIN(w->now - q->looked, LOOK_MILLISECONDS * millisecond);
	q->looked = w->now;
	if (unlikely(q->silent >= LOST_MILLISECONDS * millisecond))
		__atomic_store_n(&w->dp->lost[q - w->devices], SP_DEVICE_SILENT, __ATOMIC_RELEASE);
}

/* What the device has is dropped in all accounts, and its SAs are free to go; the buffers stay. */
static void lose(struct sp_worker *w, struct sp_async_queue *q)
{
	for (uint32_t i = 0; i < q->limit; i++) {
		if (q->held[i] == NULL)
			continue;
		end(w, sp_op_priv(q->held[i]));
		sp_count_drop(w, sp_priv_mbuf(sp_op_priv(q->held[i])), SP_DROP_CRYPTO_DEVICE_LOST);
	}
	for (; waiting(q) > 0; q->taken++)
		drop(w, q->waiting[q->taken % SP_QUEUE_WAITING], SP_DROP_CRYPTO_DEVICE_LOST);
	__atomic_store_n(&q->lost, 1, __ATOMIC_RELEASE);
}

/* ---- to the device ---- */

static uint32_t enqueue(struct sp_worker *w, struct sp_async_queue *q, struct rte_crypto_op **ops, uint32_t n)
{
	const uint32_t taken = rte_cryptodev_enqueue_burst(q->device, w->id, ops, (uint16_t)n);

	for (uint32_t i = 0; i < taken; i++) {
		uint16_t slot = q->slots[q->n++];

		sp_op_priv(ops[i])->slot = slot;
		q->held[slot] = ops[i];
	}
	q->given += taken;
	if (likely(taken > 0))
		answered(w, q);
	return taken;
}

/*
 * An operation that the device did not take and never will: it has nothing to finish first, or it has looked at the operation. Some work on an operation before they find that
 * they have no room to give it back. It must not go to them again: in counter mode what is encrypted twice is in clear.
 */
static int is_refused(const struct sp_async_queue *q, const struct rte_crypto_op *op)
{
	return q->n == 0 || op->status != RTE_CRYPTO_OP_STATUS_NOT_PROCESSED;
}

/* Gives operations to the device as far as it has room; returns how many need not wait: it has them, or they are dropped. */
static uint32_t give(struct sp_worker *w, struct sp_async_queue *q, struct rte_crypto_op **ops, uint32_t n)
{
	uint32_t done = 0;

	while (done < n && q->n < q->limit) {
		const uint32_t room = RTE_MIN(n - done, q->limit - q->n), taken = enqueue(w, q, ops + done, room);

		done += taken;
		if (likely(taken == room))
			continue;
		if (!is_refused(q, ops[done]))
			break;
		if (q->n == 0)
			unanswered(w, q);
		drop(w, ops[done++], SP_DROP_CRYPTO_ERROR);
	}
	return done;
}

static void give_waiting(struct sp_worker *w, struct sp_async_queue *q)
{
	while (waiting(q) > 0) {
		const uint32_t at = q->taken % SP_QUEUE_WAITING, n = RTE_MIN(RTE_MIN(waiting(q), SP_QUEUE_WAITING - at), (uint32_t)SP_BURST);
		const uint32_t done = give(w, q, q->waiting + at, n);

		q->taken += done;
		if (done < n)
			return;
	}
}

static struct sp_async_queue *queue_of(struct sp_worker *w, uint8_t device)
{
	struct sp_async_queue *q = w->devices;

	while (q->device != device) /* sa.c has looked whether it is there */
		q++;
	return q;
}

void sp_queue_failed(struct sp_worker *w, uint8_t device, uint32_t n, uint32_t failed)
{
	struct sp_async_queue *q = queue_of(w, device);

	q->failed = failed < n ? failed : RTE_MIN(q->failed + n, (uint32_t)SP_QUEUE_FAILURES);
	if (unlikely(q->failed >= SP_QUEUE_FAILURES))
		__atomic_store_n(&w->dp->lost[q - w->devices], SP_DEVICE_FAILS, __ATOMIC_RELEASE);
}

void sp_queue_put(struct sp_worker *w, uint8_t device, struct rte_crypto_op **ops, uint32_t n)
{
	struct sp_async_queue *q = queue_of(w, device);
	uint32_t i = 0;

	for (uint32_t j = 0; j < n; j++)
		sp_op_priv(ops[j])->phase = (uint8_t)w->phase;
	w->unfinished[w->phase] += n;
	w->in_flight += n;
	if (unlikely(is_lost(w, q))) {
		while (i < n)
			drop(w, ops[i++], SP_DROP_CRYPTO_DEVICE_LOST);
		return;
	}
	if (likely(waiting(q) == 0))
		i = give(w, q, ops, n);
	for (; i < n && waiting(q) < SP_QUEUE_WAITING; i++)
		q->waiting[q->put++ % SP_QUEUE_WAITING] = ops[i];
	while (i < n)
		drop(w, ops[i++], SP_DROP_CRYPTO_QUEUE_FULL);
}

/* ---- back from the device ---- */

/* Takes operations out of their slots. One that has none was given back before; what it was may be another packet by now. */
static uint32_t recognise(struct sp_worker *w, struct sp_async_queue *q, struct rte_crypto_op **ops, uint32_t n)
{
	uint32_t known = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct sp_mbuf_priv *priv = sp_op_priv(ops[i]);

		if (unlikely(priv->slot >= q->limit || q->held[priv->slot] != ops[i])) {
			q->unknown++;
			continue;
		}
		q->held[priv->slot] = NULL;
		q->slots[--q->n] = priv->slot;
		end(w, priv);
		ops[known++] = ops[i];
	}
	return known;
}

/* Not what is given to it in between: the loop must come round to the ports. */
static uint32_t take_back(struct sp_worker *w, struct sp_async_queue *q)
{
	struct rte_crypto_op *ops[SP_BURST];
	uint32_t left = q->n, total = 0;

	while (left > 0) {
		const uint32_t n = rte_cryptodev_dequeue_burst(q->device, w->id, ops, SP_BURST);
		uint32_t known;

		if (n == 0)
			break;
		known = recognise(w, q, ops, n);
		if (likely(known > 0)) {
			answered(w, q);
			sp_async_finish(w, ops, known);
		}
		total += known;
		left -= RTE_MIN(left, n);
	}
	return total;
}

uint32_t sp_queue_poll(struct sp_worker *w)
{
	uint32_t total = 0;

	for (uint32_t i = 0; i < w->n_devices; i++) {
		struct sp_async_queue *q = &w->devices[i];
		const uint64_t given = q->given;
		uint32_t n;

		if (q->lost || q->n + waiting(q) == 0)
			continue;
		if (unlikely(is_lost(w, q))) {
			lose(w, q);
			continue;
		}
		n = take_back(w, q);
		give_waiting(w, q);
		if (n == 0 && q->given == given)
			unanswered(w, q);
		total += n;
	}
	return total;
}
