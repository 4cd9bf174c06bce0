/* SPDX-License-Identifier: Apache-2.0 */

#include "lab_crypt.h"

#include <errno.h>
#include <string.h>

#include "crypt.h"

#define BEFORE 20            /* bytes of a header in front of the packet */
#define BEHIND 16
#define MAX_POLLS (1u << 24) /* a software device has finished long before so many empty polls */

/* What stands beside a packet, before and after. */
static const uint8_t margin[BEFORE] = "beside every packet";

static uint8_t *packet_of(struct rte_mbuf *m)
{
	return rte_pktmbuf_mtod_offset(m, uint8_t *, BEFORE);
}

static int lay_out(struct rte_mbuf *m, const uint8_t *octets, uint32_t length)
{
	uint8_t *frame = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(BEFORE + length));

	if (frame == NULL || rte_pktmbuf_tailroom(m) < BEHIND)
		return -ENOMEM;
	memcpy(frame, margin, BEFORE);
	memcpy(frame + BEFORE, octets, length);
	memcpy(frame + BEFORE + length, margin, BEHIND);
	return 0;
}

static int collect(struct rte_mbuf *m, uint8_t *octets, uint32_t length)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);

	memcpy(octets, frame + BEFORE, length);
	return memcmp(frame, margin, BEFORE) == 0 && memcmp(frame + BEFORE + length, margin, BEHIND) == 0 ? 0 : -EFAULT;
}

static void run_within(struct sp_worker *w, const struct sp_transform *t, int ah, struct rte_mbuf **mbufs, struct sp_lab_packet *packets, uint32_t n, int encrypt)
{
	struct sp_crypt crypts[SP_BURST];
	struct sp_opened opened;
	uint32_t failed;

	for (uint32_t i = 0; i < n; i++) {
		uint8_t *start = packet_of(mbufs[i]), *payload = start + packets[i].payload;

		crypts[i] = (struct sp_crypt){
			.transform = t,
			.mbuf = mbufs[i],
			.start = start,
			.payload = payload,
			.payload_length = packets[i].payload_length,
			.icv = ah ? packets[i].icv + t->iv_length : payload + packets[i].payload_length,
			.sequence = packets[i].sequence,
		};
	}
	if (encrypt) {
		failed = sp_crypt_seal(w, crypts, n);
	} else {
		opened = sp_crypt_open(w, crypts, n);
		failed = opened.forged | opened.broken;
	}
	for (uint32_t i = 0; i < n; i++)
		packets[i].failed = (failed & 1u << i) != 0;
}

static int run_queue(const struct sp_transform *t, uint16_t queue_pair, struct rte_mbuf **mbufs, struct sp_lab_packet *packets, uint32_t n, int encrypt)
{
	struct rte_crypto_op *ops[SP_BURST];
	uint32_t done = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct sp_mbuf_priv *priv = sp_priv(mbufs[i]);

		priv->decrypted = !encrypt;
		priv->sequence = packets[i].sequence;
		priv->payload = packet_of(mbufs[i]) + packets[i].payload;
		priv->payload_length = packets[i].payload_length;
		ops[i] = sp_async_prepare(mbufs[i], t);
	}
	if (rte_cryptodev_enqueue_burst(t->device, queue_pair, ops, (uint16_t)n) != n)
		return -EAGAIN;
	for (uint32_t polls = 0; done < n && polls < MAX_POLLS; polls++)
		done += rte_cryptodev_dequeue_burst(t->device, queue_pair, ops + done, (uint16_t)(n - done));
	for (uint32_t i = 0; i < n; i++) {
		sp_async_restore(mbufs[i], t);
		packets[i].failed = sp_priv(mbufs[i])->op.status != RTE_CRYPTO_OP_STATUS_SUCCESS;
	}
	return done == n ? 0 : -EAGAIN;
}

int sp_lab_crypt(struct sp_dataplane *dp, const struct sp_sa_config *config, uint16_t queue_pair, uint8_t *buffer, struct sp_lab_packet *packets, uint32_t n, int encrypt)
{
	const int queued = config->kind == SP_SA_AEAD_ASYNC || config->kind == SP_SA_CHAIN_ASYNC;
	const struct sp_transform t = sp_transform_of(config);
	struct rte_mbuf *mbufs[SP_BURST];
	int r = 0;

	if (rte_pktmbuf_alloc_bulk(dp->pool, mbufs, n) != 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < n && r == 0; i++)
		r = lay_out(mbufs[i], buffer + packets[i].offset, packets[i].length);
	if (r == 0 && queued)
		r = run_queue(&t, queue_pair, mbufs, packets, n, encrypt);
	else if (r == 0)
		run_within(dp->workers[0], &t, config->protocol == SP_SA_AH, mbufs, packets, n, encrypt);
	for (uint32_t i = 0; i < n && r == 0; i++)
		r = collect(mbufs[i], buffer + packets[i].offset, packets[i].length);
	rte_pktmbuf_free_bulk(mbufs, n);
	return r;
}
