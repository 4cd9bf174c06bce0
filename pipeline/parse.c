/* SPDX-License-Identifier: Apache-2.0 */

/* Stage 2: Ethernet and IPv4 headers of a burst. Every read stands behind a comparison with the bytes that are there. */

#include "ipv4.h"
#include "mbuf.h"
#include "stages.h"

#define ETHER_TYPE_IPV4 RTE_BE16(0x0800)
#define ETHER_TYPE_ARP RTE_BE16(0x0806)
#define ETHER_TYPE_IPV6 RTE_BE16(0x86dd)

#define MAC_MASK 0xffffffffffffull
#define MAC_GROUP 1ull

/* Walks the options: SP_PASS unless one is malformed or routes by source (RFC 791 3.1). */
static uint8_t check_options(const uint8_t *option, const uint8_t *end)
{
	while (option < end && *option != 0) {
		if (*option == 1) {
			option++;
			continue;
		}
		if (*option == 131 || *option == 137 || end - option < 2 || option[1] < 2 || option[1] > end - option)
			return SP_DROP_IP_OPTIONS;
		option += option[1];
	}
	return SP_PASS;
}

/* Fills packet from the header at l3, of which `available` bytes are in the buffer. */
static __rte_always_inline uint8_t parse_ipv4(struct sp_packet *packet, struct rte_mbuf *m, uint8_t *l3, uint32_t available, uint8_t role, uint16_t in_cell,
					      int verify)
{
	uint32_t header, total, ports = 0;
	uint64_t addresses;
	uint8_t protocol;

	if (unlikely(available < SP_IPV4_LENGTH))
		return SP_DROP_TRUNCATED;
	header = (l3[0] & 15u) * 4;
	total = rte_be_to_cpu_16(sp_load16(l3 + 2));
	if (unlikely(l3[0] != 0x45)) {
		uint8_t reason;

		if (l3[0] >> 4 != 4)
			return SP_DROP_IP_VERSION;
		if (header < SP_IPV4_LENGTH || header > available)
			return SP_DROP_IP_HEADER_LENGTH;
		reason = check_options(l3 + SP_IPV4_LENGTH, l3 + header);
		if (reason != SP_PASS)
			return reason;
	}
	if (unlikely(total < header || total > available))
		return SP_DROP_IP_TOTAL_LENGTH;
	if (verify && unlikely(sp_fold(sp_ipv4_sum(l3, header / 4)) != 0xffff))
		return SP_DROP_IP_CHECKSUM;
	if (unlikely(sp_load16(l3 + 6) & RTE_BE16(SP_IPV4_FRAGMENT)))
		return SP_DROP_FRAGMENT;

	protocol = l3[9];
	if (likely(sp_has_ports(protocol))) {
		if (unlikely(total - header < 4))
			return SP_DROP_L4_TRUNCATED;
		ports = rte_be_to_cpu_32(sp_load32(l3 + header));
	}
	addresses = rte_be_to_cpu_64(sp_load64(l3 + 12));
	packet->mbuf = m;
	packet->l3 = l3;
	packet->words[0] = addresses >> 32 | addresses << 32;
	packet->words[1] = ports >> 16 | (ports & 0xffff) << 16 | (uint64_t)protocol << 32 | (uint64_t)role << 40 | (uint64_t)in_cell << 48;
	packet->length = (uint16_t)total;
	packet->header_length = (uint8_t)header;
	packet->tos = l3[1];
	packet->link_group = 0;
	return SP_PASS;
}

uint8_t sp_parse_inner(struct sp_worker *w __rte_unused, struct sp_packet *packet, struct rte_mbuf *m, uint8_t *l3, uint32_t available, uint8_t role,
		       uint16_t in_cell)
{
	return parse_ipv4(packet, m, l3, available, role, in_cell, 1);
}

/* A unicast packet in a link-layer group frame is not ours to forward (RFC 1812 5.3.4); group destinations are left to the classifier. */
static int group_destination(const struct sp_worker *w, uint32_t destination)
{
	const struct sp_snapshot *s = w->snapshot;

	if (destination >= 0xe0000000)
		return 1;
	for (uint32_t i = 0; i < s->n_local; i++)
		if (s->broadcast[i] == destination)
			return 1;
	return 0;
}

enum frame { FRAME_GONE, FRAME_CLASSIFY, FRAME_ESP };

static __rte_always_inline int own_address(const struct sp_port_addresses *own, uint32_t address)
{
	for (uint32_t i = 0; i < own->n; i++)
		if (own->address[i] == address)
			return 1;
	return 0;
}

/* Not an IPv4 frame for this station. */
static __rte_noinline void other_frame(struct sp_worker *w, struct rte_mbuf *m, uint64_t destination, uint64_t mac)
{
	uint16_t type = sp_load16(rte_pktmbuf_mtod_offset(m, uint8_t *, 12));

	if (!(destination & MAC_GROUP) && destination != mac)
		sp_drop(w, m, SP_DROP_OTHER_MAC);
	else if (type == ETHER_TYPE_ARP)
		sp_punt_delivered(w, m, SP_PUNT_ARP, SP_NO_CELL, 0);
	else if (type == ETHER_TYPE_IPV6)
		sp_drop(w, m, SP_DROP_IPV6);
	else
		sp_drop(w, m, SP_DROP_ETHER_TYPE);
}

static __rte_always_inline enum frame parse_frame(struct sp_worker *w, const struct sp_port *port, const struct sp_port_addresses *own, struct rte_mbuf *m,
						  struct sp_packet *packet, struct sp_esp *esp)
{
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	uint64_t destination;
	uint8_t reason;

	if (unlikely(m->nb_segs != 1)) {
		sp_drop(w, m, SP_DROP_SEGMENTS);
		return FRAME_GONE;
	}
	if (unlikely(m->data_len < SP_L2_LENGTH)) {
		sp_drop(w, m, SP_DROP_TRUNCATED);
		return FRAME_GONE;
	}
	destination = sp_load64(frame) & MAC_MASK;
	if (unlikely(sp_load16(frame + 12) != ETHER_TYPE_IPV4 || (destination != port->mac && !(destination & MAC_GROUP)))) {
		other_frame(w, m, destination, port->mac);
		return FRAME_GONE;
	}
	reason = parse_ipv4(packet, m, frame + SP_L2_LENGTH, m->data_len - SP_L2_LENGTH, port->role, SP_NO_CELL,
			    !(port->rx_checksum && (m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD));
	if (unlikely(destination & MAC_GROUP) && reason == SP_PASS && !group_destination(w, packet->key.destination))
		reason = SP_DROP_LINK_BROADCAST;
	if (unlikely(reason != SP_PASS)) {
		sp_drop(w, m, reason);
		return FRAME_GONE;
	}
	/* the hot way in: ESP for the port it arrived on needs no policy decision before it is decrypted */
	if (packet->key.protocol == SP_PROTOCOL_ESP && likely(own_address(own, packet->key.destination)))
		return sp_demux_esp(w, packet, esp) ? FRAME_ESP : FRAME_GONE;
	return FRAME_CLASSIFY;
}

void sp_ingest(struct sp_worker *w, uint16_t port_id, struct rte_mbuf **mbufs, uint32_t n, int count)
{
	const struct sp_port *port = &w->dp->ports[port_id];
	const struct sp_port_addresses *own = &w->snapshot->port[port_id];
	struct sp_packet packets[SP_BURST];
	struct sp_esp esp[SP_BURST];
	uint32_t n_packets = 0, n_esp = 0, bytes = 0;

	for (uint32_t i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void *));
	for (uint32_t i = 0; i < n; i++) {
		mbufs[i]->port = port_id;
		bytes += mbufs[i]->pkt_len;
		switch (parse_frame(w, port, own, mbufs[i], &packets[n_packets], &esp[n_esp])) {
		case FRAME_CLASSIFY:
			n_packets++;
			break;
		case FRAME_ESP:
			n_esp++;
			break;
		case FRAME_GONE:
			break;
		}
	}
	if (count) {
		w->counters[port_id].received += n;
		w->counters[port_id].received_bytes += bytes;
	}
	if (n_esp > 0)
		sp_inbound(w, esp, n_esp);
	if (n_packets > 0)
		sp_process(w, packets, n_packets);
}

/* ESP in UDP (RFC 3948 2): a keepalive, IKE behind a non-ESP marker, or ESP. */
static int demux_udp(struct sp_worker *w, const struct sp_packet *packet, struct sp_esp *esp)
{
	uint32_t available = packet->length - packet->header_length;
	const uint8_t *udp = packet->l3 + packet->header_length;
	uint32_t length;

	if (available < SP_UDP_LENGTH) {
		sp_drop(w, packet->mbuf, SP_DROP_L4_TRUNCATED);
		return 0;
	}
	length = rte_be_to_cpu_16(sp_load16(udp + 4));
	if (length < SP_UDP_LENGTH || length > available) {
		sp_drop(w, packet->mbuf, SP_DROP_L4_TRUNCATED);
		return 0;
	}
	length -= SP_UDP_LENGTH;
	if (length == 1 && udp[SP_UDP_LENGTH] == 0xff) {
		sp_drop(w, packet->mbuf, SP_DROP_NAT_KEEPALIVE);
		return 0;
	}
	if (length >= 4 && sp_load32(udp + SP_UDP_LENGTH) == 0) {
		sp_punt_delivered(w, packet->mbuf, SP_PUNT_IKE, SP_NO_CELL, packet->filter);
		return 0;
	}
	esp->esp = packet->l3 + packet->header_length + SP_UDP_LENGTH;
	esp->length = length;
	return 1;
}

int sp_demux_esp(struct sp_worker *w, const struct sp_packet *packet, struct sp_esp *esp)
{
	esp->mbuf = packet->mbuf;
	esp->outer_tos = packet->tos;
	esp->udp = packet->key.protocol == SP_PROTOCOL_UDP;
	if (unlikely(esp->udp))
		return demux_udp(w, packet, esp);
	esp->esp = packet->l3 + packet->header_length;
	esp->length = packet->length - packet->header_length;
	return 1;
}
