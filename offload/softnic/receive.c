/* The receive callback: ESP that a rule names. */
#include "frame.h"
#include "nic.h"

#include <rte_cycles.h>

enum outcome {
	PASSED,  /* as it came */
	SECURED,
	FAILED,  /* as it came, or garbage, and says so */
	DUMMY,   /* to be thrown away */
};

/* The session of a packet, NULL if no rule names it or if it is for the program to judge. */
static struct sp_nic_session *session_of(const struct sp_nic *nic, const uint8_t *frame, const struct sp_nic_esp *esp)
{
	struct sp_nic_key key = {0};
	void *flow;
	struct sp_nic_session *s;
	uint32_t text;

	if (esp->ip.ipv6) {
		memcpy(key.destination, frame + esp->l3 + 24, 16);
	} else {
		memset(key.destination + 10, 0xff, 2);
		memcpy(key.destination + 12, frame + esp->l3 + 16, 4);
	}
	memcpy(&key.spi_be, frame + esp->esp, 4);
	if (rte_hash_lookup_data(nic->rules, &key, &flow) < 0)
		return NULL;
	s = ((struct rte_flow *)flow)->session;
	if (s == NULL || s->udp != esp->udp)
		return NULL;
	text = esp->end - esp->esp;
	if (text < SP_NIC_ESP_HEADER + s->cipher.iv_length + s->cipher.icv_length + (uint32_t)s->cipher.block)
		return NULL;
	text -= SP_NIC_ESP_HEADER + s->cipher.iv_length + s->cipher.icv_length;
	return text % s->cipher.block == 0 ? s : NULL;
}

static uint32_t text_length(const struct sp_nic_session *s, const struct sp_nic_esp *esp)
{
	return esp->end - esp->esp - SP_NIC_ESP_HEADER - s->cipher.iv_length - s->cipher.icv_length;
}

static enum outcome decrypt(struct sp_nic_queue *q, struct sp_nic_session *s, struct rte_mbuf *m, const struct sp_nic_esp *esp)
{
	uint8_t *at = rte_pktmbuf_mtod(m, uint8_t *) + esp->esp;

	return sp_nic_open(&s->cipher, q->library, at, text_length(s, esp), 0, 0) ? SECURED : FAILED;
}

static enum outcome receive(struct sp_nic_queue *q, struct rte_mbuf *m)
{
	struct sp_nic *nic = q->nic;
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	struct sp_nic_session *s;
	struct sp_nic_esp esp;
	enum outcome outcome;

	if (!sp_nic_find_esp(frame, m->data_len, &esp))
		return PASSED;
	s = m->nb_segs == 1 ? session_of(nic, frame, &esp) : NULL;
	q->packets += s != NULL;
	if (s == NULL || sp_nic_nth(q, nic->fault.undecrypted)) {
		q->counters.rx_passed++;
		return PASSED;
	}
	if (sp_nic_nth(q, nic->fault.mangle))
		frame[esp.end - 1] ^= 1;
	*rte_security_dynfield(m) = s->userdata;
	outcome = decrypt(q, s, m, &esp);
	q->counters.rx_secured += outcome == SECURED;
	q->counters.rx_failed += outcome == FAILED;
	q->counters.dummies += outcome == DUMMY;
	m->ol_flags |= RTE_MBUF_F_RX_SEC_OFFLOAD | (outcome == FAILED ? RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED : 0);
	return outcome;
}

uint16_t sp_nic_receive(uint16_t port, uint16_t queue, struct rte_mbuf *packets[], uint16_t n, uint16_t room, void *argument)
{
	struct sp_nic_queue *q = argument;
	uint64_t start;
	uint16_t kept = 0;

	(void)port;
	(void)queue;
	(void)room;
	if (n == 0)
		return 0;
	start = rte_rdtsc();
	rte_rwlock_read_lock(&q->nic->lock);
	for (uint16_t i = 0; i < n; i++) {
		/* in-memory drivers leave what the sender had there */
		packets[i]->ol_flags &= ~(RTE_MBUF_F_RX_SEC_OFFLOAD | RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED | RTE_MBUF_F_TX_SEC_OFFLOAD);
		if (!q->nic->fault.vanished && receive(q, packets[i]) == DUMMY)
			rte_pktmbuf_free(packets[i]);
		else
			packets[kept++] = packets[i];
	}
	rte_rwlock_read_unlock(&q->nic->lock);
	q->counters.cycles += rte_rdtsc() - start;
	return kept;
}
