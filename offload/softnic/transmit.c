/* The transmit callback: packets that ask for a session. */
#include "frame.h"
#include "nic.h"

#include <string.h>

/* A complete packet: all but the encryption is done, and the ICV's room is there. */
static int encrypt(struct sp_nic_queue *q, struct sp_nic_session *s, struct rte_mbuf *m)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	const uint32_t around = SP_NIC_ESP_HEADER + s->cipher.iv_length + s->cipher.icv_length;
	struct sp_nic_esp esp;
	uint32_t length;

	if (!sp_nic_find_esp(frame, m->data_len, &esp) || esp.l3 != m->l2_len || esp.udp != s->udp || memcmp(frame + esp.esp, &s->spi_be, 4) != 0)
		return 0;
	length = esp.end - esp.esp;
	if (length < around + s->cipher.block || (length - around) % s->cipher.block != 0)
		return 0;
	sp_nic_seal(&s->cipher, q->library, frame + esp.esp, length - around, 0, 0, 0);
	if (sp_nic_nth(q, q->nic->fault.mangle))
		frame[esp.end - 1] ^= 1;
	if (esp.udp && esp.ip.ipv6)
		sp_nic_udp6_checksum(frame + esp.l3, frame + esp.esp - SP_NIC_UDP);
	return 1;
}

/* A packet that is to be wrapped: offsets from the frame's start, and lengths. */
struct plan {
	uint32_t l3, keep; /* what stays in front: the Ethernet header, in transport mode the packet's own header too */
	uint32_t front, text, padding, back;
	struct sp_nic_ip ip;
	uint8_t next;
	uint64_t number;
};

static int is_extension(uint8_t protocol)
{
	return protocol == 0 || protocol == 43 || protocol == 44 || protocol == 60;
}

static int plan_of(const struct sp_nic_session *s, const struct rte_mbuf *m, struct plan *p)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	const uint32_t block = s->cipher.block;
	uint16_t type;

	p->l3 = sp_nic_l2(frame, m->data_len, &type);
	if (p->l3 == 0 || p->l3 != m->l2_len || !sp_nic_read_ip(frame + p->l3, m->data_len - p->l3, &p->ip))
		return 0;
	p->front = SP_NIC_ESP_HEADER + s->cipher.iv_length + (s->udp ? SP_NIC_UDP : 0);
	if (s->transport) {
		if (p->ip.fragment || (p->ip.ipv6 && is_extension(p->ip.protocol)))
			return 0;
		p->keep = p->l3 + p->ip.header;
		p->text = p->ip.total - p->ip.header;
		p->next = p->ip.protocol;
	} else {
		p->keep = p->l3;
		p->text = p->ip.total;
		p->next = p->ip.ipv6 ? SP_NIC_PROTOCOL_IPV6 : SP_NIC_PROTOCOL_IPV4;
		p->front += s->ipv6 ? SP_NIC_IPV6 : SP_NIC_IPV4;
	}
	p->padding = (block - (p->text + 2) % block) % block;
	p->back = p->padding + 2 + s->cipher.icv_length;
	/* behind the packet there may be Ethernet's padding */
	return p->ip.total + p->front + p->back <= UINT16_MAX && rte_pktmbuf_headroom(m) >= p->front &&
	       rte_pktmbuf_tailroom(m) + m->data_len - p->l3 - p->ip.total >= p->back;
}

/* The next number, 0 if there is none left. */
static uint64_t take_number(struct sp_nic_session *s)
{
	uint64_t number;

	rte_spinlock_lock(&s->lock); /* queues share the count */
	number = s->esn || s->next <= UINT32_MAX ? s->next : 0;
	s->next += number != 0;
	rte_spinlock_unlock(&s->lock);
	return number;
}

static void write_outer(const struct sp_nic_session *s, const struct plan *p, uint8_t *ip, const uint8_t *inner, uint32_t total)
{
	const uint8_t tos = sp_nic_tos(inner), protocol = s->udp ? SP_NIC_PROTOCOL_UDP : SP_NIC_PROTOCOL_ESP;
	const uint8_t outer_tos = (uint8_t)((s->copy_dscp ? tos & 0xfc : s->dscp << 2) | (s->ecn ? tos & 3 : 0));
	int df;

	if (s->ipv6) {
		ip[0] = (uint8_t)(0x60 | outer_tos >> 4);
		ip[1] = (uint8_t)(outer_tos << 4 | (s->flow_label >> 16 & 15));
		sp_nic_put16(ip + 2, (uint16_t)s->flow_label);
		sp_nic_put16(ip + 4, (uint16_t)(total - SP_NIC_IPV6));
		ip[6] = protocol;
		ip[7] = s->ttl;
		memcpy(ip + 8, s->source, 16);
		memcpy(ip + 24, s->destination, 16);
		return;
	}
	/* no router may cut an IPv6 packet (RFC 8200 section 4.5) */
	df = s->copy_df ? p->ip.ipv6 || (inner[6] & 0x40) != 0 : s->df;
	ip[0] = 0x45;
	ip[1] = outer_tos;
	sp_nic_put16(ip + 2, (uint16_t)total);
	sp_nic_put16(ip + 4, df ? 0 : (uint16_t)p->number); /* an ID means something only where the packet may be cut (RFC 6864 section 4) */
	sp_nic_put16(ip + 6, df ? 0x4000 : 0);
	ip[8] = s->ttl;
	ip[9] = protocol;
	memcpy(ip + 12, s->source, 4);
	memcpy(ip + 16, s->destination, 4);
	sp_nic_ipv4_checksum(ip);
}

/* In transport mode the packet's own header leads to ESP. */
static void relabel(const struct sp_nic_session *s, uint8_t *ip, uint32_t total)
{
	const uint8_t protocol = s->udp ? SP_NIC_PROTOCOL_UDP : SP_NIC_PROTOCOL_ESP;

	if (ip[0] >> 4 == 6) {
		ip[6] = protocol;
		sp_nic_put16(ip + 4, (uint16_t)(total - SP_NIC_IPV6));
		return;
	}
	ip[9] = protocol;
	sp_nic_put16(ip + 2, (uint16_t)total);
	sp_nic_ipv4_checksum(ip);
}

static void write_esp(const struct sp_nic_session *s, uint8_t *esp, uint64_t number)
{
	const uint64_t number_be = rte_cpu_to_be_64(number);
	const uint32_t low_be = rte_cpu_to_be_32((uint32_t)number);

	memcpy(esp, &s->spi_be, 4);
	memcpy(esp + 4, &low_be, 4);
	memcpy(esp + 8, &number_be, 8);
	memset(esp + 16, 0, s->cipher.iv_length - 8u);
}

/* Wraps the packet behind the Ethernet header, and encrypts it. */
static int wrap(struct sp_nic_queue *q, struct sp_nic_session *s, struct rte_mbuf *m)
{
	struct plan p;
	uint8_t *frame, *ip, *esp, *trailer;
	uint32_t total;

	if (!plan_of(s, m, &p) || (p.number = take_number(s)) == 0)
		return 0;
	(void)rte_pktmbuf_trim(m, (uint16_t)(m->data_len - p.l3 - p.ip.total));
	trailer = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)p.back);
	frame = (uint8_t *)rte_pktmbuf_prepend(m, (uint16_t)p.front);
	memmove(frame, frame + p.front, p.keep);
	ip = frame + p.l3;
	total = p.ip.total + p.front + p.back;
	if (s->transport) {
		relabel(s, ip, total);
	} else {
		write_outer(s, &p, ip, ip + p.front, total);
		sp_nic_put16(ip - 2, s->ipv6 ? SP_NIC_TYPE_IPV6 : SP_NIC_TYPE_IPV4);
	}
	esp = frame + p.keep + p.front - SP_NIC_ESP_HEADER - s->cipher.iv_length;
	for (uint32_t i = 0; i < p.padding; i++)
		trailer[i] = (uint8_t)(i + 1);
	trailer[p.padding] = (uint8_t)p.padding;
	trailer[p.padding + 1] = p.next;
	write_esp(s, esp, p.number);
	sp_nic_seal(&s->cipher, q->library, esp, p.text + p.padding + 2, s->esn, (uint32_t)(p.number >> 32), !s->cipher.gcm_used);
	if (sp_nic_nth(q, q->nic->fault.mangle))
		trailer[p.back - 1] ^= 1;
	if (s->udp) {
		uint8_t *udp = esp - SP_NIC_UDP;

		memcpy(udp, &s->source_port_be, 2);
		memcpy(udp + 2, &s->destination_port_be, 2);
		sp_nic_put16(udp + 4, (uint16_t)(ip + total - udp));
		sp_nic_put16(udp + 6, 0);
		if (ip[0] >> 4 == 6)
			sp_nic_udp6_checksum(ip, udp);
	}
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
	if (s == NULL || !s->egress || m->nb_segs != 1 || !(s->protocol ? wrap(q, s, m) : encrypt(q, s, m))) {
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
	uint64_t start = sp_nic_clock();
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
	sp_nic_spent(q, start);
	return end;
}
