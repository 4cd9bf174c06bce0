/* SPDX-License-Identifier: Apache-2.0 */

/* The receiver: every frame is counted once, as what it is. Frames that somebody has to answer go to Go. */

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_ring.h>

#include "loop.h"
#include "packet.h"

#define PORT_IKE 500
#define PORT_NATT 4500

/* What arrived in one burst. */
struct arrival {
	struct traffic_receiver *r;
	uint64_t now;
	struct traffic_esp esp[TRAFFIC_BURST];
	const uint8_t *from[TRAFFIC_BURST]; /* outer source of each */
	uint8_t other[TRAFFIC_BURST];       /* it was for another MAC address */
	uint32_t n_esp;
};

/* Gives the frame to Go, if there is room. */
static int report(struct traffic_receiver *r, struct rte_mbuf *m)
{
	if (rte_ring_enqueue(r->reports, m) == 0)
		return 1;
	r->seen.unread++;
	return 0;
}

void traffic_record(struct traffic_sink *sink, uint64_t ns)
{
	uint64_t value = ns < TRAFFIC_TRACKABLE ? ns : TRAFFIC_TRACKABLE;
	/* The layout of HdrHistogram with a lowest value of 1 and 3 significant figures: 2048 steps in the first bucket, 1024 in each other. */
	uint32_t bucket = 53 - (uint32_t)__builtin_clzll(value | 2047);

	sink->counts[(uint64_t)bucket * 1024 + (value >> bucket)]++;
	if (ns < sink->shortest)
		sink->shortest = ns;
	if (ns > sink->longest)
		sink->longest = ns;
}

/* The number whose low bits are given and that is nearest to the next one. */
static int64_t distance(uint64_t next, uint64_t low)
{
	return (int64_t)((low - next) << (64 - TRAFFIC_BITS)) >> (64 - TRAFFIC_BITS);
}

/* Numbers passed over have not been seen. */
static void advance(uint64_t *bits, uint64_t window, uint64_t from, uint64_t to)
{
	if (to - from >= window) {
		memset(bits, 0, window / 8);
		return;
	}
	for (uint64_t q = from; q < to; q++)
		bits[q % window / 64] &= ~(1ULL << q % 64);
}

/* Counts a number as RFC 4737 section 3 does: reordered is what is lower than a number seen before, and of duplicates only the first counts. */
static int track(struct traffic_sink *k, uint32_t flow, uint64_t low)
{
	struct traffic_track *t = &k->tracks[flow];
	uint64_t *bits = &k->bits[flow * (k->window / 64)];
	int64_t ahead = distance(t->next, low);
	uint64_t number = t->next + (uint64_t)ahead;

	if (ahead >= 0) {
		advance(bits, k->window, t->next, number);
		bits[number % k->window / 64] |= 1ULL << number % 64;
		t->next = number + 1;
		return 1;
	}
	if ((uint64_t)-ahead > t->next || (uint64_t)-ahead > k->window) {
		k->too_old++;
		return 0;
	}
	if (bits[number % k->window / 64] >> number % 64 & 1) {
		k->duplicates++;
		return 0;
	}
	bits[number % k->window / 64] |= 1ULL << number % 64;
	k->reordered++;
	return 1;
}

/* Whether the packet has the addresses and ports of its flow. */
static int of_flow(const struct traffic_ip *ip, const struct traffic_stream *s, const struct traffic_flow *f)
{
	if (ip->address_length != (s->ipv6 ? 16U : 4U))
		return 0;
	return memcmp(ip->addresses, f->source, ip->address_length) == 0 && memcmp(ip->addresses + ip->address_length, f->destination, ip->address_length) == 0 &&
	       memcmp(ip->payload, &f->source_port_be, 2) == 0 && memcmp(ip->payload + 2, &f->destination_port_be, 2) == 0;
}

/* A sound test packet: is it where it should be? sa is the one that it came by, NULL for none. */
static void count_test(const struct arrival *a, const struct traffic_ip *ip, const struct traffic_mark *mark, const struct traffic_sa *sa, int other)
{
	struct traffic_receiver *r = a->r;
	const struct traffic_stream *s = mark->stream < r->n_streams ? r->streams[mark->stream] : NULL;
	struct traffic_sink *k = &r->sinks[mark->stream];
	const struct traffic_flow *f;

	if (mark->trial != r->trial || s == NULL || mark->flow >= s->n_flows) {
		r->seen.stale++;
		return;
	}
	f = &s->flows[mark->flow];
	if (s->destination_port != r->index)
		r->seen.reflected++;
	else if (r->sas != NULL && sa == NULL)
		r->seen.cleartext++;
	else if (other || !of_flow(ip, s, f))
		r->seen.other_address++;
	else if (sa != NULL && sa->tunnel != f->tunnel)
		r->seen.other_tunnel++;
	else {
		k->packets++;
		k->last = a->now;
		k->octets += (s->ipv6 ? IPV6_LENGTH : IPV4_LENGTH) + ip->length + TRAFFIC_AROUND;
		if (track(k, mark->flow, mark->sequence))
			traffic_record(k, (uint64_t)((unsigned __int128)((a->now - mark->stamp) & TRAFFIC_MASK) * r->nanoseconds >> 32));
	}
}

/* A packet in clear, or one that was inside ESP. */
static enum traffic_sort judge(const struct arrival *a, const struct traffic_ip *ip, const struct traffic_sa *sa, int other)
{
	struct traffic_mark mark;
	enum traffic_sort sort = traffic_read(ip, a->r->fill, a->r->listen_be, &mark);

	if (sort == TRAFFIC_TEST)
		count_test(a, ip, &mark, sa, other);
	else if (sort == TRAFFIC_MANGLED)
		a->r->seen.mangled++;
	return sort;
}

static int all_zeros(const uint8_t *p, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++)
		if (p[i] != 0)
			return 0;
	return 1;
}

/* Keeps a packet of ESP until the burst is decrypted. */
static void take_esp(struct arrival *a, const struct traffic_ip *ip, const uint8_t *start, uint32_t length, int other)
{
	struct traffic_receiver *r = a->r;
	struct traffic_sa *sa;
	uint32_t spi_be;

	if (length < ESP_LENGTH) {
		r->seen.malformed++;
		return;
	}
	memcpy(&spi_be, start, 4);
	sa = traffic_find(r->sas, spi_be);
	if (sa == NULL) {
		if (traffic_find(r->own, spi_be) != NULL)
			r->seen.reflected++;
		else
			r->seen.unknown_spi++;
		return;
	}
	a->esp[a->n_esp] = (struct traffic_esp){.sa = sa, .start = (uint8_t *)(uintptr_t)start, .length = length};
	a->other[a->n_esp] = (uint8_t)other;
	a->from[a->n_esp++] = ip->addresses;
}

/* Datagrams of UDP that are not a test in clear: ESP in UDP and IKE (RFC 3948 section 2.2). Returns whether the frame was reported. */
static int take_udp(struct arrival *a, struct rte_mbuf *m, const struct traffic_ip *ip, int other)
{
	struct traffic_receiver *r = a->r;
	uint16_t to = ip->length >= UDP_LENGTH ? load16(ip->payload + 2) : 0;

	if (to != PORT_IKE && to != PORT_NATT) {
		if (judge(a, ip, NULL, other) == TRAFFIC_FOREIGN)
			r->seen.foreign++;
		return 0;
	}
	if (to == PORT_NATT && ip->length > UDP_LENGTH + 4 && !all_zeros(ip->payload + UDP_LENGTH, 4)) {
		take_esp(a, ip, ip->payload + UDP_LENGTH, ip->length - UDP_LENGTH, other);
		return 0;
	}
	r->seen.ike++;
	return report(r, m);
}

static int take_ip(struct arrival *a, struct rte_mbuf *m, uint8_t version, uint32_t header, int other)
{
	const uint8_t *packet = rte_pktmbuf_mtod_offset(m, const uint8_t *, header);
	const uint32_t length = m->data_len - header;
	struct traffic_receiver *r = a->r;
	struct traffic_ip ip;

	if (length == 0 || packet[0] >> 4 != version || traffic_parse(packet, length, &ip) != TRAFFIC_TEST) {
		r->seen.mangled++;
		return 0;
	}
	if (ip.fragment) {
		r->seen.fragments++;
		return 0;
	}
	switch (ip.next) {
	case NEXT_ESP:
		take_esp(a, &ip, ip.payload, ip.length, other);
		return 0;
	case NEXT_UDP:
		return take_udp(a, m, &ip, other);
	case NEXT_ICMP:
	case NEXT_ICMP6:
		r->seen.icmp++;
		return report(r, m);
	default:
		r->seen.foreign++;
		return 0;
	}
}

/* The length of the Ethernet header of a frame of our VLAN, 0 of another one or of none at all. A port may have taken the tag off. */
static uint32_t header_of(const struct traffic_receiver *r, const struct rte_mbuf *m)
{
	const uint8_t *ether = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t vlan = (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0 ? m->vlan_tci & VLAN_MASK : 0, length = ETHER;

	if (m->data_len < ETHER || m->nb_segs != 1)
		return 0;
	if (vlan == 0 && load16(ether + 12) == ETHER_TYPE_VLAN) {
		length += VLAN_TAG;
		if (m->data_len < length)
			return 0;
		vlan = load16(ether + 14) & VLAN_MASK;
	}
	return vlan == r->vlan ? length : 0;
}

/* Sorts a frame; returns whether it was reported, and is no longer ours. */
static int take(struct arrival *a, struct rte_mbuf *m)
{
	struct traffic_receiver *r = a->r;
	const uint8_t *ether = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t header = header_of(r, m);
	int other;

	r->seen.frames++;
	r->seen.octets += m->pkt_len + 4;
	if (header == 0) {
		r->seen.foreign++;
		return 0;
	}
	if (memcmp(ether + 6, r->mac, 6) == 0) {
		/* AF_PACKET also hands over what this end's own kernel sends by the interface, such as IPv6's router solicitations. No test packet is a multicast. */
		if (load16(ether) == ETHER_MULTICAST_IPV6)
			r->seen.foreign++;
		else
			r->seen.reflected++;
		return 0;
	}
	other = (ether[0] & 1) == 0 && memcmp(ether, r->mac, 6) != 0;
	switch (load16(ether + header - 2)) {
	case ETHER_TYPE_ARP:
		r->seen.arp++;
		return report(r, m);
	case ETHER_TYPE_IPV4:
		return take_ip(a, m, 4, header, other);
	case ETHER_TYPE_IPV6:
		return take_ip(a, m, 6, header, other);
	default:
		r->seen.foreign++;
		return 0;
	}
}

/* What a packet of ESP had inside. */
static void take_inner(const struct arrival *a, const struct traffic_esp *p, int other)
{
	struct traffic_receiver *r = a->r;
	struct traffic_ip ip;

	if (p->forged) {
		r->seen.forged++;
		return;
	}
	if (p->malformed || (p->next != NEXT_IPV4 && p->next != NEXT_IPV6)) {
		r->seen.malformed++; /* dummy packets too (RFC 4303 section 2.6) */
		return;
	}
	p->sa->packets++;
	if (traffic_parse(p->start, p->length, &ip) != TRAFFIC_TEST)
		r->seen.mangled++;
	else if (ip.fragment)
		r->seen.fragments++;
	else if (judge(a, &ip, p->sa, other) == TRAFFIC_FOREIGN)
		r->seen.foreign++;
}

static void take_esps(struct arrival *a)
{
	traffic_open(a->r->crypto, a->esp, a->n_esp);
	for (uint32_t i = 0; i < a->n_esp; i++) {
		const struct traffic_sa *sa = a->esp[i].sa;
		int from = memcmp(a->from[i], sa->from, sa->ipv6 ? 16 : 4);

		take_inner(a, &a->esp[i], a->other[i] || from != 0);
	}
}

uint32_t traffic_receive(struct traffic_receiver *r)
{
	struct rte_mbuf *mbufs[TRAFFIC_BURST];
	struct arrival a;
	uint16_t n = rte_eth_rx_burst(r->port, 0, mbufs, TRAFFIC_BURST);
	uint32_t ours = 0;

	if (n == 0)
		return 0;
	a.now = rte_rdtsc();
	a.r = r;
	a.n_esp = 0;
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];

		if (!take(&a, m))
			mbufs[ours++] = m;
	}
	if (a.n_esp > 0)
		take_esps(&a);
	rte_pktmbuf_free_bulk(mbufs, ours);
	return n;
}
