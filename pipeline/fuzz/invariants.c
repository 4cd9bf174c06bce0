/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <stdlib.h>

#include "../ipv6.h"
#include "invariants.h"

struct soft soft_seen[SOFT_SEEN];
uint32_t n_soft_seen;

/* What a filter or an SA dropped, a port dropped for the same reason; and of subjects, only filters and the SAs that were given a number count. */
static void check_tally(const struct gateway *g)
{
	uint64_t ports[SP_DROP_COUNT] = {0}, filters[SP_DROP_COUNT] = {0}, sas[SP_DROP_COUNT] = {0};
	struct sp_tally_count counts[64];
	uint32_t cursor, n;

	for (uint32_t port = 0; port < SP_PORT_SLOTS; port++) {
		struct sp_port_counters c;

		sp_port_counters_read(g->dp, (uint16_t)port, &c);
		for (uint32_t i = 0; i < SP_DROP_COUNT; i++)
			ports[i] += c.drops[i];
	}
	for (uint32_t w = 0; w < g->workers; w++) {
		cursor = 0;
		while ((n = sp_tally_dump(g->dp, w, &cursor, counts, RTE_DIM(counts))) > 0)
			for (uint32_t i = 0; i < n; i++)
				*(counts[i].subject < g->dp->max_counters ? &filters[counts[i].reason] : &sas[counts[i].reason]) += counts[i].n;
	}
	for (uint32_t i = 0; i < SP_DROP_COUNT; i++)
		CHECK(filters[i] <= ports[i] && sas[i] <= ports[i], "%s: ports %lu, filters %lu, SAs %lu", sp_drop_reason_name(i), ports[i], filters[i], sas[i]);
}

void check_conservation(const struct gateway *g)
{
	for (uint32_t port = 0; port < SP_PORT_SLOTS; port++) {
		struct sp_port_counters c;
		uint64_t drops = 0;

		sp_port_counters_read(g->dp, (uint16_t)port, &c);
		for (uint32_t i = 0; i < SP_DROP_COUNT; i++)
			drops += c.drops[i];
		CHECK(c.received + c.split == c.forwarded + c.delivered + drops + g->discarded[port] + c.reassembling + c.merged,
		      "port %u: received %lu, split %lu, forwarded %lu, delivered %lu, dropped %lu, discarded %lu, reassembling %lu, merged %lu", port, c.received, c.split, c.forwarded,
		      c.delivered, drops, g->discarded[port], c.reassembling, c.merged);
		CHECK(c.held == c.released + g->discarded[port], "port %u: held %lu, released %lu, discarded %lu", port, c.held, c.released, g->discarded[port]);
	}
	for (uint32_t i = 0; i <= g->dp->sad_mask; i++)
		CHECK(g->dp->early[i].waiting == 0, "%u packets wait in slot %u", g->dp->early[i].waiting, i);
	CHECK(g->dp->early_waiting == 0, "%u packets wait for inbound SAs", g->dp->early_waiting);
	check_tally(g);
}

/* What follows the IP header of a sound frame; a fragment's header is stepped over. */
static const uint8_t *payload_of(const uint8_t *frame, uint8_t *protocol, int *first)
{
	const uint8_t *l3 = frame + SP_L2_LENGTH;
	uint32_t at = SP_IPV6_LENGTH;

	*first = 1;
	if (!sp_is_ipv6(l3)) {
		*protocol = l3[9];
		*first = (sp_load16(l3 + 6) & RTE_BE16(SP_IPV4_OFFSET)) == 0;
		return l3 + sp_ipv4_header_length(l3);
	}
	*protocol = l3[6];
	while (sp_ipv6_extension(*protocol) || *protocol == 44) {
		uint32_t length = *protocol == 44 ? 8 : 8 + 8u * l3[at + 1];

		if (*protocol == 44)
			*first = (sp_load16(l3 + at + 2) & RTE_BE16(0xfff8)) == 0;
		*protocol = l3[at];
		at += length;
	}
	return l3 + at;
}

static const struct gateway *other_end(const struct gateway *g)
{
	return g == &ours ? &peer : &ours;
}

/* Whether a tunnel's SPI, as its receiver chose it, stands behind the IP header. */
static int has_spi(const struct gateway *receiver, const uint8_t *at, uint8_t protocol, enum tunnel t)
{
	uint32_t spi;

	if (protocol == SP_PROTOCOL_UDP)
		at += SP_UDP_LENGTH;
	else if (protocol == SP_PROTOCOL_AH)
		at += 4;
	else if (protocol != SP_PROTOCOL_ESP)
		return 0;
	spi = rte_be_to_cpu_32(sp_load32(at));
	return spi == receiver->spi[t] || spi == receiver->ah_spi[t];
}

/* Whether a frame is between the ends of a tunnel that has a header of this protocol outermost: all that a later fragment shows. */
static int between_ends(const struct gateway *sender, const uint8_t *frame, enum tunnel t, uint8_t protocol)
{
	const uint8_t *l3 = frame + SP_L2_LENGTH;
	const int ipv6 = sp_is_ipv6(l3);

	return tunnel_wide(t) == ipv6 && tunnel_protocol(t) == protocol && rte_be_to_cpu_32(sp_load32(l3 + (ipv6 ? 20 : 12))) == tunnel_end(sender, t) &&
	       rte_be_to_cpu_32(sp_load32(l3 + (ipv6 ? 36 : 16))) == tunnel_end(other_end(sender), t);
}

/* The tunnel that a frame is of, TUNNELS for none; one of those it may be of for a later fragment. */
static enum tunnel tunnel_of(const struct gateway *sender, const uint8_t *frame, uint32_t length)
{
	uint8_t protocol;
	int first;
	const uint8_t *at;
	enum tunnel t = 0;

	if ((sp_load16(frame + 12) != RTE_BE16(0x0800) && sp_load16(frame + 12) != RTE_BE16(0x86dd)) || length < SP_L2_LENGTH + SP_IPV4_LENGTH + 12)
		return TUNNELS;
	at = payload_of(frame, &protocol, &first);
	while (t < TUNNELS && !(first ? has_spi(other_end(sender), at, protocol, t) : between_ends(sender, frame, t, protocol)))
		t++;
	return t;
}

int from_tunnel(const uint8_t *frame, uint32_t length)
{
	return tunnel_of(&ours, frame, length) != TUNNELS;
}

/* Transport mode shows the addresses of protected hosts. */
static int in_transport(const struct gateway *sender, const uint8_t *frame, uint32_t length, uint32_t source, uint32_t destination)
{
	enum tunnel t = tunnel_of(sender, frame, length);

	return t != TUNNELS && tunnel_transport(t) && source == tunnel_end(sender, t) && destination == tunnel_end(other_end(sender), t);
}

/* Whether a soft SA of this input lets our host's traffic out to the other in clear. */
static int by_soft(uint32_t source, uint32_t destination)
{
	for (uint32_t i = 0; i < n_soft_seen; i++)
		if (soft_seen[i].local == source && soft_seen[i].remote == destination)
			return 1;
	return 0;
}

void check_clear(const struct gateway *sender, const uint8_t *frame, uint32_t length)
{
	const uint8_t *l3 = frame + SP_L2_LENGTH;
	uint32_t source, destination;

	if (sp_load16(frame + 12) == RTE_BE16(0x86dd)) {
		CHECK(length >= SP_L2_LENGTH + SP_IPV6_LENGTH, "IPv6 frame of %u bytes", length);
		source = rte_be_to_cpu_32(sp_load32(l3 + 20));
		destination = rte_be_to_cpu_32(sp_load32(l3 + 36));
	} else if (sp_load16(frame + 12) == RTE_BE16(0x0800)) {
		CHECK(length >= SP_L2_LENGTH + SP_IPV4_LENGTH, "IPv4 frame of %u bytes", length);
		source = rte_be_to_cpu_32(sp_load32(l3 + 12));
		destination = rte_be_to_cpu_32(sp_load32(l3 + 16));
		CHECK(sp_fold(sp_ipv4_sum(l3, l3[0] & 15)) == 0xffff, "wrong header checksum");
	} else {
		return;
	}
	if (source >> 8 == CLEAR_NET >> 8 || destination >> 8 == CLEAR_NET >> 8)
		CHECK(source >> 8 == OUR_NET >> 8 || destination >> 8 == OUR_NET >> 8, "clear packet %08x -> %08x", source, destination);
	else if (!by_soft(source, destination) && !in_transport(sender, frame, length, source, destination))
		CHECK(source >> 24 != 10 && destination >> 24 != 10, "clear packet %08x -> %08x", source, destination);
	CHECK(source != BLOCKED_HOST, "packet of the blocked host");
}

void check_group(const uint8_t *frame)
{
	uint32_t destination = rte_be_to_cpu_32(sp_load32(frame + SP_L2_LENGTH + 16));

	if (sp_load16(frame + 12) == RTE_BE16(0x0800))
		CHECK(destination < 0xe0000000 && destination != (OUR_NET | 255) && destination != (OUR_WAN | 255), "packet for group %08x", destination);
	if (sp_load16(frame + 12) == RTE_BE16(0x86dd))
		CHECK(!sp_ipv6_multicast(frame + SP_L2_LENGTH + 24), "IPv6 packet for a group");
}
