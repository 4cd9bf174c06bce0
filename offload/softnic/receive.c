/* The receive callback: ESP that a rule names. */
#include "frame.h"
#include "nic.h"
#include "window.h"

#include <string.h>

enum outcome {
	PASSED,  /* as it came */
	SECURED,
	FAILED,  /* as it came, or garbage, and says so */
	DUMMY,   /* to be thrown away */
};

/* The VLAN of a frame's only tag, whether it is there or the driver has taken it off; 0 for other frames. */
static uint32_t vlan_of(const struct rte_mbuf *m, const uint8_t *frame, const struct sp_nic_esp *esp)
{
	const uint32_t stripped = (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0, tags = (esp->l3 - SP_NIC_ETHERNET) / SP_NIC_TAG + stripped;

	if (tags != 1)
		return 0;
	return SP_NIC_TAGGED | ((stripped ? m->vlan_tci : sp_nic_get16(frame + SP_NIC_ETHERNET)) & SP_NIC_VLAN_MASK);
}

/* The rule of the frame's VLAN, or one of any frame; NULL for none. */
static const struct rte_flow *rule_of(const struct sp_nic *nic, struct sp_nic_key *key, uint32_t vlan)
{
	void *flow;

	key->vlan = vlan;
	if (vlan != 0 && rte_hash_lookup_data(nic->rules, key, &flow) >= 0)
		return flow;
	key->vlan = 0;
	return rte_hash_lookup_data(nic->rules, key, &flow) >= 0 ? flow : NULL;
}

/* The session of a packet, NULL if no rule names it or if it is for the program to judge. */
static struct sp_nic_session *session_of(const struct sp_nic *nic, const struct rte_mbuf *m, const uint8_t *frame, const struct sp_nic_esp *esp)
{
	struct sp_nic_key key = {0};
	const struct rte_flow *flow;
	struct sp_nic_session *s;
	uint32_t text;

	if (esp->ip.ipv6) {
		memcpy(key.destination, frame + esp->l3 + 24, 16);
	} else {
		memset(key.destination + 10, 0xff, 2);
		memcpy(key.destination + 12, frame + esp->l3 + 16, 4);
	}
	memcpy(&key.spi_be, frame + esp->esp, 4);
	flow = rule_of(nic, &key, vlan_of(m, frame, esp));
	s = flow != NULL ? flow->session : NULL;
	if (s == NULL || s->slot == 0 || s->udp != esp->udp)
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

/* RFC 6040 section 4.2, figure 4, by inner and outer field: not-ECT, ECT(1), ECT(0), CE. 0xff: the packet is lost, because its sender would not hear of the congestion. */
static const uint8_t ecn_inside[4][4] = {{0, 0, 0, 0xff}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}};

/* Makes the frame one of the packet that a tunnel carried in the `length` octets from `at` on. */
static enum outcome unwrap_tunnel(const struct sp_nic_session *s, struct rte_mbuf *m, const struct sp_nic_esp *esp, uint32_t at, uint32_t length, uint8_t next)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *), *inner = frame + at;
	uint8_t tos, ecn;
	struct sp_nic_ip ip;

	if (next == SP_NIC_PROTOCOL_NONE)
		return DUMMY;
	if (!sp_nic_read_ip(inner, length, &ip) || next != (ip.ipv6 ? SP_NIC_PROTOCOL_IPV6 : SP_NIC_PROTOCOL_IPV4))
		return FAILED;
	tos = sp_nic_tos(inner);
	ecn = s->ecn ? ecn_inside[tos & 3][sp_nic_tos(frame + esp->l3) & 3] : tos & 3;
	if (ecn == 0xff)
		return FAILED;
	if (ecn != (tos & 3))
		sp_nic_set_tos(inner, (uint8_t)((tos & ~3) | ecn));
	memmove(inner - esp->l3, frame, esp->l3);
	sp_nic_put16(inner - 2, ip.ipv6 ? SP_NIC_TYPE_IPV6 : SP_NIC_TYPE_IPV4);
	/* what is behind the inner packet goes with the trailer: padding against traffic analysis, and Ethernet's */
	(void)rte_pktmbuf_trim(m, (uint16_t)(m->data_len - at - ip.total));
	(void)rte_pktmbuf_adj(m, (uint16_t)(at - esp->l3));
	return SECURED;
}

/* Gives the packet its own payload back. */
static enum outcome unwrap_transport(struct rte_mbuf *m, const struct sp_nic_esp *esp, uint32_t at, uint32_t length, uint8_t next)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *), *ip;
	const uint32_t header = esp->ip.header, gap = at - esp->l3 - header;

	if (next == SP_NIC_PROTOCOL_NONE)
		return DUMMY;
	memmove(frame + gap, frame, esp->l3 + header);
	ip = frame + gap + esp->l3;
	if (esp->ip.ipv6) {
		ip[6] = next;
		sp_nic_put16(ip + 4, (uint16_t)length);
	} else {
		ip[9] = next;
		sp_nic_put16(ip + 2, (uint16_t)(header + length));
		sp_nic_ipv4_checksum(ip);
	}
	(void)rte_pktmbuf_trim(m, (uint16_t)(m->data_len - at - length));
	(void)rte_pktmbuf_adj(m, (uint16_t)gap);
	return SECURED;
}

/* What is left of a packet whose ICV was right. */
static enum outcome unwrap(const struct sp_nic_session *s, struct rte_mbuf *m, const struct sp_nic_esp *esp)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	const uint32_t at = esp->esp + SP_NIC_ESP_HEADER + s->cipher.iv_length, end = at + text_length(s, esp);
	const uint32_t padding = frame[end - 2];
	const uint8_t next = frame[end - 1];

	if (padding + 2 > end - at)
		return FAILED;
	for (uint32_t i = 0; i < padding; i++)
		if (frame[end - 2 - padding + i] != i + 1)
			return FAILED;
	if (s->transport)
		return unwrap_transport(m, esp, at, end - 2 - padding - at, next);
	return unwrap_tunnel(s, m, esp, at, end - 2 - padding - at, next);
}

static enum outcome open_protocol(struct sp_nic_queue *q, struct sp_nic_session *s, struct rte_mbuf *m, const struct sp_nic_esp *esp)
{
	uint8_t *at = rte_pktmbuf_mtod(m, uint8_t *) + esp->esp;
	enum outcome outcome = FAILED;
	uint64_t number;
	uint32_t low_be;

	memcpy(&low_be, at + 4, 4);
	rte_spinlock_lock(&s->lock); /* queues share the window */
	number = sp_nic_number(s, rte_be_to_cpu_32(low_be));
	if (!sp_nic_window_allows(s, number)) {
		q->counters.replayed++;
	} else if (sp_nic_open(&s->cipher, q->library, at, text_length(s, esp), s->esn, (uint32_t)(number >> 32))) {
		sp_nic_window_accept(s, number);
		outcome = unwrap(s, m, esp);
	}
	rte_spinlock_unlock(&s->lock);
	return outcome;
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
	s = m->nb_segs == 1 ? session_of(nic, m, frame, &esp) : NULL;
	q->packets += s != NULL;
	if (s == NULL || sp_nic_nth(q, nic->fault.undecrypted)) {
		q->counters.rx_passed++;
		return PASSED;
	}
	if (sp_nic_nth(q, nic->fault.mangle))
		frame[esp.end - 1] ^= 1;
	*rte_security_dynfield(m) = s->userdata;
	outcome = s->protocol ? open_protocol(q, s, m, &esp) : decrypt(q, s, m, &esp);
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
	start = sp_nic_clock();
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
	sp_nic_spent(q, start);
	return kept;
}
