/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stage 2: Ethernet and IPv4 headers of a burst. Every read stands behind a comparison with the bytes that are there. The common packet takes sp_header_plain of parse.h;
 * whatever that declines is looked at again from the start, in full, for the reason.
 */

#include "ah.h"
#include "checksum.h"
#include "fragment.h"
#include "inline.h"
#include "mbuf.h"
#include "parse.h"
#include "stages.h"
#include "vlan.h"

#define ETHER_TYPE_ARP RTE_BE16(0x0806)

#define MAC_GROUP 1ull

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_LOOSE_ROUTE 131
#define OPTION_STRICT_ROUTE 137

/* Walks the options: SP_PASS unless one is malformed or routes by source (RFC 791 3.1). */
static uint8_t check_options(const uint8_t *option, const uint8_t *end)
{
	while (option < end && *option != OPTION_END) {
		if (*option == OPTION_NOP) {
			option++;
			continue;
		}
		if (*option == OPTION_LOOSE_ROUTE || *option == OPTION_STRICT_ROUTE || end - option < 2 || option[1] < 2 || option[1] > end - option)
			return SP_DROP_IP_OPTIONS;
		option += option[1];
	}
	return SP_PASS;
}

uint8_t sp_parse_ipv4(struct sp_packet *packet, struct rte_mbuf *m, uint8_t *l3, uint32_t available, uint64_t origin)
{
	struct sp_header h;
	uint32_t header, ports = 0;
	uint8_t reason;

	if (available < SP_IPV4_LENGTH)
		return SP_DROP_TRUNCATED;
	if (l3[0] >> 4 != 4)
		return SP_DROP_IP_VERSION;
	header = sp_ipv4_header_length(l3);
	if (header < SP_IPV4_LENGTH || header > available)
		return SP_DROP_IP_HEADER_LENGTH;
	reason = check_options(l3 + SP_IPV4_LENGTH, l3 + header);
	if (reason != SP_PASS)
		return reason;
	h.total = rte_be_to_cpu_16(sp_load16(l3 + 2));
	if (h.total < header || h.total > available)
		return SP_DROP_IP_TOTAL_LENGTH;
	if (sp_fold(sp_ipv4_sum(l3, header / 4)) != 0xffff)
		return SP_DROP_IP_CHECKSUM;
	if (sp_load16(l3 + 6) & RTE_BE16(SP_IPV4_FRAGMENT))
		return SP_FRAGMENT;
	if (sp_has_ports(l3[9])) {
		if (h.total - header < 4)
			return h.total == header ? SP_DROP_NO_PAYLOAD : SP_DROP_L4_TRUNCATED;
		ports = sp_load32(l3 + header);
	}
	h.second = sp_load64(l3 + 8);
	h.destination = sp_load32(l3 + 16);
	sp_packet_fill(packet, m, l3, &h, ports, origin);
	return SP_PASS;
}

/* ---- frames ---- */

/* Group addresses are for the classifier to refuse; anything else in a link-layer group frame is not ours to forward (RFC 1812 5.3.4). */
static int group_destination(const struct sp_worker *w, uint32_t destination)
{
	const struct sp_snapshot *s = w->snapshot;

	if (destination >= 0xe0000000)
		return 1;
	for (uint32_t i = 0; i < s->n_own; i++)
		if (s->own[i].broadcast == destination)
			return 1;
	return 0;
}

/* Anything but a plain IPv4 packet addressed to this station. Returns 1 with the packet parsed, or disposes of it or puts it aside and returns 0. */
static __rte_noinline int unusual_frame(struct sp_worker *w, const struct sp_port *port, struct rte_mbuf *m, struct sp_packet *packet)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	uint8_t reason = SP_PASS;
	uint64_t station;
	uint16_t type;

	if (m->nb_segs != 1) {
		sp_drop(w, m, SP_DROP_SEGMENTS);
		return 0;
	}
	if (m->data_len < SP_L2_LENGTH) {
		sp_drop(w, m, SP_DROP_TRUNCATED);
		return 0;
	}
	if (sp_untag_priority(m))
		frame = rte_pktmbuf_mtod(m, uint8_t *);
	station = sp_load64(frame) << SP_MAC_BITS_UNUSED;
	type = sp_load16(frame + 12);
	if (station != port->mac && !(station >> SP_MAC_BITS_UNUSED & MAC_GROUP)) {
		reason = SP_DROP_OTHER_MAC;
	} else if (type == ETHER_TYPE_ARP) {
		sp_link_arp(w, m);
		return 0;
	} else if (type == SP_ETHER_TYPE_IPV6) {
		w->aside[w->n_aside++] = m;
		return 0;
	} else if (type != SP_ETHER_TYPE_IPV4) {
		reason = sp_ether_type_reason(type);
	} else {
		const uint64_t origin = sp_key_origin(w->snapshot->port[m->port].role, SP_NO_CELL);

		reason = sp_parse_ipv4(packet, m, frame + SP_L2_LENGTH, m->data_len - SP_L2_LENGTH, origin);
		if ((reason == SP_PASS || reason == SP_FRAGMENT) && station != port->mac &&
		    !group_destination(w, rte_be_to_cpu_32(sp_load32(frame + SP_L2_LENGTH + 16))))
			reason = SP_DROP_LINK_BROADCAST;
		if (reason == SP_FRAGMENT)
			reason = sp_reassemble(w, packet, m, frame + SP_L2_LENGTH, origin);
	}
	if (reason == SP_PASS)
		return 1;
	if (reason != SP_TAKEN)
		sp_drop(w, m, reason);
	return 0;
}

static int own_address(const struct sp_port_addresses *own, uint32_t address)
{
	for (uint32_t i = 0; i < own->n; i++)
		if (own->address[i] == address)
			return 1;
	return 0;
}

/* As sp_frame_plain of IPv6: its header is for parse_ipv6.c to read. */
static __rte_always_inline int plain_frame6(const struct rte_mbuf *m, const uint8_t *frame, uint64_t mac)
{
	return m->nb_segs == 1 && m->data_len >= SP_L2_LENGTH + SP_IPV6_LENGTH && sp_load64(frame) << SP_MAC_BITS_UNUSED == mac && sp_load16(frame + 12) == SP_ETHER_TYPE_IPV6;
}

/* The hot way in: ESP for the port it arrived on needs no policy decision before it is decrypted. Returns 0 for anything else. */
static __rte_always_inline int plain_esp(struct rte_mbuf *m, uint8_t *l3, const struct sp_header *h, struct sp_esp *esp)
{
	if (sp_header_protocol(h) != SP_PROTOCOL_ESP || h->total < SP_IPV4_LENGTH + SP_ESP_LENGTH)
		return 0;
	esp->mbuf = m;
	esp->esp = l3 + SP_IPV4_LENGTH;
	esp->length = h->total - SP_IPV4_LENGTH;
	esp->headers = SP_IPV4_LENGTH;
	esp->outer_tos = h->tos;
	esp->form = SP_FORM_ESP;
	return 1;
}

/* Sources of ESP in UDP that a burst may have on the short way: where there are more, it is quicker to look up their flows side by side. */
#define UDP_SOURCES 4

/* What policy says of ESP in UDP from one source: asked of the flow cache for the first packet of a run, it holds for all of them. */
struct udp_run {
	uint64_t source;     /* address, then both ports, as in the packet; 0: none yet */
	uint32_t filter;
	uint32_t packets;
	uint64_t bytes;
	uint64_t origin;
	uint32_t left;       /* runs that may still begin in this burst */
};

static void count_udp_run(struct sp_worker *w, struct udp_run *run)
{
	if (run->packets > 0)
		sp_count_filter(w, run->filter, run->packets, run->bytes);
	run->packets = 0;
	run->bytes = 0;
}

/* Begins a run with a packet from another source. Returns 0 when this and the rest of the burst go the general way. */
static __rte_noinline int begin_udp_run(struct sp_worker *w, struct udp_run *run, struct rte_mbuf *m, uint8_t *l3, const struct sp_header *h, uint64_t source)
{
	struct sp_packet p;

	if (run->left == 0)
		return 0;
	run->left--;
	count_udp_run(w, run);
	sp_packet_plain(&p, m, l3, h, run->origin);
	sp_flow_verdicts(w, &p, 1);
	if (p.verdict.action != SP_ACTION_INBOUND) {
		run->left = 0;
		run->source = 0;
		return 0;
	}
	run->source = source;
	run->filter = p.verdict.filter;
	return 1;
}

/*
 * The same for ESP in UDP (RFC 3948 2.1) without a UDP checksum, as a peer behind a NAT sends all its packets: no IKE, no keepalive, nothing cut off. Its filter is counted as
 * on the general way, which the others take.
 */
static __rte_always_inline int plain_udp(struct sp_worker *w, struct udp_run *run, struct rte_mbuf *m, uint8_t *l3, const struct sp_header *h, struct sp_esp *esp)
{
	uint8_t *udp = l3 + SP_IPV4_LENGTH;
	uint64_t header, source;
	uint32_t length;

	if (sp_header_protocol(h) != SP_PROTOCOL_UDP || h->total < SP_IPV4_LENGTH + SP_UDP_LENGTH + SP_ESP_LENGTH)
		return 0;
	header = sp_load64(udp); /* ports, length, checksum */
	length = rte_be_to_cpu_16((uint16_t)(header >> 32));
	if ((uint16_t)(header >> 16) != RTE_BE16(SP_PORT_IKE_NAT) || header >> 48 != 0 || length < SP_UDP_LENGTH + SP_ESP_LENGTH || length > h->total - SP_IPV4_LENGTH ||
	    sp_load32(udp + SP_UDP_LENGTH) == 0)
		return 0;
	source = h->second >> 32 << 32 | (uint32_t)header;
	if (unlikely(source != run->source) && !begin_udp_run(w, run, m, l3, h, source))
		return 0;
	run->packets++;
	run->bytes += h->total;
	sp_set_mark_filter(m, run->filter);
	esp->mbuf = m;
	esp->esp = udp + SP_UDP_LENGTH;
	esp->length = length - SP_UDP_LENGTH;
	esp->headers = SP_IPV4_LENGTH;
	esp->outer_tos = h->tos;
	esp->form = SP_FORM_UDP;
	return 1;
}

void sp_ingest(struct sp_worker *w, uint16_t port_id, struct rte_mbuf **mbufs, uint32_t n, int count)
{
	const struct sp_port *port = &w->dp->ports[port_id];
	const struct sp_port_addresses *own = &w->snapshot->port[port_id];
	const uint64_t mac = port->mac, origin = sp_key_origin(own->role, SP_NO_CELL);
	const uint64_t own_be = own->n > 0 ? rte_cpu_to_be_32(own->address[0]) : UINT64_MAX; /* no packet is for that */
	const int trust = port->rx_checksum;
	struct sp_packet packets[SP_BURST], *packet = packets;
	struct sp_esp inbound[SP_BURST], *esp = inbound;
	struct udp_run udp = {.origin = origin, .left = UDP_SOURCES};
	uint32_t bytes = 0, opened, plain;
	const uint32_t received = n;

	SP_ENTER(w, PARSE);
	for (uint32_t i = 0; i < n; i++) {
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
		mbufs[i]->port = port_id;
		sp_clear_marks(mbufs[i]);
		bytes += mbufs[i]->pkt_len;
	}
	if (unlikely(port->secured)) {
		n = sp_inline_take(w, port, mbufs, n, inbound, &opened, packets, &plain);
		esp += opened;
		packet += plain;
	}
	for (struct rte_mbuf **next = mbufs; next < mbufs + n; next++) {
		struct rte_mbuf *m = *next;
		uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
		int verified = trust && (m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
		struct sp_header h;

		if (likely(sp_frame_plain(m, frame, mac, verified, &h))) {
			if (h.destination == own_be &&
			    (plain_esp(m, frame + SP_L2_LENGTH, &h, esp) || plain_udp(w, &udp, m, frame + SP_L2_LENGTH, &h, esp))) {
				esp++;
				continue;
			}
			if (likely(sp_packet_plain(packet, m, frame + SP_L2_LENGTH, &h, origin))) {
				packet++;
				continue;
			}
		}
		if (plain_frame6(m, frame, mac)) {
			w->aside[w->n_aside++] = m;
			continue;
		}
		if (!unusual_frame(w, port, m, packet))
			continue;
		if (packet->key.protocol == SP_PROTOCOL_ESP && own_address(own, packet->key.destination))
			esp += sp_demux_esp(w, packet, esp);
		else
			packet++;
	}
	if (count) {
		w->counters[port_id].received += received;
		w->counters[port_id].received_bytes += bytes;
	}
	count_udp_run(w, &udp);
	if (esp != inbound)
		sp_inbound(w, inbound, (uint32_t)(esp - inbound));
	if (packet != packets)
		sp_process(w, packets, (uint32_t)(packet - packets));
	if (unlikely(w->n_aside > 0))
		sp_ingest6(w, port);
}

/* ---- ESP and AH ---- */

/*
 * RFC 768, RFC 8200 8.1. Senders of ESP mostly leave it 0, since the ICV says more; in IPv6 that is for tunnels alone (RFC 6935 5), and IKE is none.
 */
static int udp_checksum_right(const uint8_t *l3, const uint8_t *udp, uint32_t length, int ike)
{
	if (sp_load16(udp + SP_UDP_CHECKSUM) == 0)
		return !sp_is_ipv6(l3) || !ike;
	return sp_upper_sum(l3, SP_PROTOCOL_UDP, udp, length) == 0xffff;
}

/* ESP in UDP (RFC 3948 2): a keepalive, IKE behind a non-ESP marker, or ESP. */
static int demux_udp(struct sp_worker *w, const struct sp_packet *packet, struct sp_esp *esp)
{
	const uint8_t *udp = esp->esp;
	uint32_t length = esp->length < SP_UDP_LENGTH ? 0 : rte_be_to_cpu_16(sp_load16(udp + 4));
	const int secured = sp_secured(packet->mbuf); /* if a NIC has decrypted it, its sender's checksum is of other bytes */
	int ike;

	if (length < SP_UDP_LENGTH || length > esp->length) {
		sp_punt_heard(w, packet, SP_DROP_L4_TRUNCATED);
		return 0;
	}
	ike = length >= SP_UDP_LENGTH + 4 && sp_load32(udp + SP_UDP_LENGTH) == 0;
	if (unlikely(ike && secured)) { /* nobody encrypts IKE by ESP: it was inside a tunnel */
		sp_drop(w, packet->mbuf, SP_DROP_INLINE_SESSION);
		return 0;
	}
	if (unlikely(!secured && !udp_checksum_right(packet->l3, udp, length, ike))) {
		sp_punt_heard(w, packet, SP_DROP_UDP_CHECKSUM);
		return 0;
	}
	length -= SP_UDP_LENGTH;
	if (length == 1 && udp[SP_UDP_LENGTH] == 0xff) {
		sp_punt_heard(w, packet, SP_DROP_NAT_KEEPALIVE);
		return 0;
	}
	if (ike && packet->verdict.filter == SP_COUNTER_NONE) { /* no IKE is exempt here: an SPI that no SA can have (RFC 4303 2.1) */
		sp_punt_heard(w, packet, SP_DROP_NO_INBOUND_SA);
		return 0;
	}
	if (ike) {
		sp_punt_ike(w, packet);
		return 0;
	}
	esp->form = SP_FORM_UDP;
	esp->esp += SP_UDP_LENGTH;
	esp->length = length;
	return 1;
}

/* AH is found by its SPI too. */
static int demux_ah(struct sp_worker *w, const struct sp_packet *packet, struct sp_esp *esp)
{
	if (esp->length < SP_AH_LENGTH) {
		sp_drop(w, packet->mbuf, esp->length == 0 ? SP_DROP_NO_PAYLOAD : SP_DROP_AH_TRUNCATED);
		return 0;
	}
	esp->form = SP_FORM_AH;
	esp->esp += SP_AH_SPI;
	esp->length -= SP_AH_SPI;
	return 1;
}

int sp_demux_esp(struct sp_worker *w, const struct sp_packet *packet, struct sp_esp *esp)
{
	const uint8_t *l3 = packet->l3;
	const int ipv6 = sp_is_ipv6(l3);

	if (unlikely(packet->mbuf->ol_flags & w->dp->reassembled_flag)) { /* which says nothing of the inner one */
		packet->mbuf->ol_flags &= ~w->dp->reassembled_flag;
		packet->mbuf->ol_flags |= w->dp->outer_reassembled_flag;
	}
	esp->mbuf = packet->mbuf;
	esp->headers = ipv6 ? ((const struct sp_packet6 *)packet)->l4 : (uint16_t)sp_ipv4_header_length(l3);
	esp->esp = packet->l3 + esp->headers;
	esp->length = (uint32_t)packet->length - esp->headers;
	esp->outer_tos = ipv6 ? sp_ipv6_traffic_class(l3) : l3[1];
	esp->form = SP_FORM_ESP;
	if (unlikely(packet->key.protocol == SP_PROTOCOL_UDP) && !demux_udp(w, packet, esp))
		return 0;
	if (unlikely(packet->key.protocol == SP_PROTOCOL_AH) && !demux_ah(w, packet, esp))
		return 0;
	if (unlikely(esp->length < SP_ESP_LENGTH)) {
		sp_punt_heard(w, packet, esp->length == 0 ? SP_DROP_NO_PAYLOAD : SP_DROP_ESP_TRUNCATED);
		return 0;
	}
	return 1;
}
