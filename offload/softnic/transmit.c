/* The transmit callback: packets that ask for a session. */
#include "frame.h"
#include "nic.h"

#include <string.h>

#include <rte_cycles.h>

/* A complete packet: all but the encryption is done, and the ICV's room is there. */
static int encrypt(struct sp_nic_queue *q, struct sp_nic_session *s, struct rte_mbuf *m)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	const uint32_t around = SP_NIC_ESP_HEADER + s->cipher.iv_length + s->cipher.icv_length;
	struct sp_nic_esp esp;
	uint32_t length;

	if (!sp_nic_find_esp(frame, m->data_len, &esp) || esp.udp != s->udp || memcmp(frame + esp.esp, &s->spi_be, 4) != 0)
		return 0;
	length = esp.end - esp.esp;
	if (length < around + s->cipher.block || (length - around) % s->cipher.block != 0)
		return 0;
	sp_nic_seal(&s->cipher, q->library, frame + esp.esp, length - around, 0, 0, 0);
	if (sp_nic_nth(q, q->nic->fault.mangle))
		frame[esp.end - 1] ^= 1;
	return 1;
}

/* Whether a packet may go out now. */
static int transmit(struct sp_nic_queue *q, struct rte_mbuf *m)
{
	struct sp_nic_session *s;

	if (q->nic->fault.vanished)
		return 0;
	s = sp_nic_named(q->nic, *rte_security_dynfield(m));
	q->packets++;
	if (s == NULL || !s->egress || m->nb_segs != 1 || !encrypt(q, s, m)) {
		q->counters.tx_failed++;
		return 0;
	}
	q->counters.tx_secured++;
	/* what the driver does not take now comes again, and is not encrypted twice */
	m->ol_flags &= ~RTE_MBUF_F_TX_SEC_OFFLOAD;
	return 1;
}

/*
 * Of the packets that ask for a session those that get none go behind all others, in order, and stay the caller's, who learns by the number sent. They still ask: sent once more, they
 * fail once more.
 */
uint16_t sp_nic_transmit(uint16_t port, uint16_t queue, struct rte_mbuf *packets[], uint16_t n, void *argument)
{
	struct sp_nic_queue *q = argument;
	uint64_t start = rte_rdtsc();
	uint16_t i = 0, end = n;

	(void)port;
	(void)queue;
	rte_rwlock_read_lock(&q->nic->lock);
	while (i < end) {
		struct rte_mbuf *m = packets[i];

		if ((m->ol_flags & RTE_MBUF_F_TX_SEC_OFFLOAD) == 0 || transmit(q, m)) {
			i++;
			continue;
		}
		memmove(packets + i, packets + i + 1, (n - i - 1u) * sizeof(*packets));
		packets[n - 1] = m;
		end--;
	}
	rte_rwlock_read_unlock(&q->nic->lock);
	q->counters.cycles += rte_rdtsc() - start;
	return end;
}
