/* SPDX-License-Identifier: Apache-2.0 */

/*
 * TCP options of a SYN (RFC 9293 3.1). Path MTU discovery needs ICMP that many networks drop; a connection that never tries a larger segment than the tunnel
 * carries does not need it.
 */

#include "mss.h"

/* bytes of the header */
#define TCP_OFFSET 12
#define TCP_FLAGS 13
#define TCP_CHECKSUM 16

#define TCP_SYN 0x02

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define OPTION_MSS_LENGTH 4

/* As the sum has a word that begins at an odd byte: the sum of rotated words is the rotated sum (RFC 1071 2 B). */
static uint16_t as_summed(uint16_t word, int odd)
{
	return odd ? rte_bswap16(word) : word;
}

static void lower_option(uint8_t *tcp, uint8_t *value, uint16_t mss)
{
	const int odd = (int)((value - tcp) & 1);
	uint16_t before = sp_load16(value), after = rte_cpu_to_be_16(mss);

	if (rte_be_to_cpu_16(before) <= mss)
		return;
	sp_store16(value, after);
	sp_checksum_adjust(tcp + TCP_CHECKSUM, as_summed(before, odd), as_summed(after, odd));
}

void sp_mss_lower(uint8_t *tcp, uint32_t length, uint16_t mss)
{
	const uint8_t *end;
	uint8_t *option;
	uint32_t header;

	if (length < SP_TCP_LENGTH || !(tcp[TCP_FLAGS] & TCP_SYN))
		return;
	header = (tcp[TCP_OFFSET] >> 4) * 4u;
	if (header > length)
		return;
	option = tcp + SP_TCP_LENGTH;
	end = tcp + header;
	/* what is malformed is for the receiver to refuse: the walk only ends there */
	while (option < end && *option != OPTION_END) {
		if (*option == OPTION_NOP) {
			option++;
			continue;
		}
		if (end - option < 2 || option[1] < 2 || option[1] > end - option)
			return;
		if (*option == OPTION_MSS && option[1] == OPTION_MSS_LENGTH)
			lower_option(tcp, option + 2, mss);
		option += option[1];
	}
}

uint16_t sp_mss_in(const struct sp_worker *w, const struct sp_sa_in *sa, int ipv6)
{
	const struct sp_adjacency *next;
	const struct sp_sa_out *out;

	if (!sa->mss_automatic)
		return sa->mss;
	out = sp_cell_current(w->dp, sa->cell);
	if (out == NULL)
		return 0;
	next = sp_adjacency_get(w, __atomic_load_n(&out->adjacency, __ATOMIC_RELAXED));
	return next == NULL ? 0 : sp_mss_of(sp_sa_out_largest_inner(out, sp_sa_out_mtu(out, next)), ipv6);
}
