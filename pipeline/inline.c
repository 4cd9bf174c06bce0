/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Stages 6 and 7 where a NIC does the work of ESP: packets left to it, and packets that it has opened. A mark on a packet is believed only if the SA that it names has a session on the
 * very port that it came by.
 */

#include "inline.h"

#include "crypt.h"
#include "esp.h"
#include "mss.h"
#include "outer.h"
#include "parse.h"
#include "replay.h"
#include "sequence.h"
#include "vlan.h"
#include "whole.h"

/* ---- inbound ---- */

static struct sp_sa_in *sa_of(const struct sp_worker *w, uint32_t spi)
{
	struct sp_sa_in *sa = __atomic_load_n(&w->dp->sad[spi & w->dp->sad_mask], __ATOMIC_ACQUIRE);

	return sa != NULL && sa->spi == spi ? sa : NULL;
}

/* The inner packet of a frame whose outer headers the NIC has taken away. It is found by its SPI as any other: that stands where the sender's MAC address was, which nobody reads. */
static uint8_t describe(const struct sp_port *port, struct rte_mbuf *m, uint32_t spi, struct sp_esp *p)
{
	uint8_t *frame;
	uint16_t type;

	if (m->nb_segs != 1)
		return SP_DROP_SEGMENTS;
	if (m->data_len < SP_L2_LENGTH)
		return SP_DROP_TRUNCATED;
	sp_untag_priority(m);
	if (m->data_len < SP_L2_LENGTH + SP_IPV4_LENGTH) /* from here on everyone may look at its length */
		return m->data_len == SP_L2_LENGTH ? SP_DROP_NO_PAYLOAD : SP_DROP_INNER_HEADER;
	frame = rte_pktmbuf_mtod(m, uint8_t *);
	if (sp_load64(frame) << SP_MAC_BITS_UNUSED != port->mac)
		return SP_DROP_OTHER_MAC;
	type = sp_load16(frame + 12);
	if (type != SP_ETHER_TYPE_IPV4 && type != SP_ETHER_TYPE_IPV6) /* a rule without a VLAN is of frames with any tag */
		return sp_ether_type_reason(type);
	*p = (struct sp_esp){.mbuf = m, .esp = frame + SP_L2_LENGTH - SP_ESP_LENGTH, .length = (uint32_t)(m->data_len - SP_L2_LENGTH), .form = SP_FORM_OPENED};
	sp_store32(p->esp, rte_cpu_to_be_32(spi));
	return SP_PASS;
}

/* A marked packet of a port that has sessions of inline protocol: 1 if it is one of theirs, described or dropped or kept for its SA. */
static int take(struct sp_worker *w, const struct sp_port *port, struct rte_mbuf *m, struct sp_esp *opened, uint32_t *n_opened)
{
	const uint64_t userdata = *rte_security_dynfield(m);
	const uint32_t spi = (uint32_t)userdata;
	const struct sp_inline *in;
	struct sp_sa_in *sa;
	uint8_t reason;

	if (userdata > UINT32_MAX)
		return 0;
	sa = sa_of(w, spi);
	if (sa == NULL) /* its session was made before it; what is forged, or too short for a header, waits for nothing */
		return !sp_found_forged(m) && m->data_len >= SP_L2_LENGTH + SP_IPV4_LENGTH && sp_early_keep(w, m, spi);
	in = sp_sa_in_inline(sa);
	if (in == NULL || !in->protocol || in->device != port->device)
		return 0;
	reason = sp_found_forged(m) ? SP_DROP_AUTH_FAILED : describe(port, m, spi, &opened[*n_opened]);
	if (likely(reason == SP_PASS))
		(*n_opened)++;
	else
		sp_sa_in_drop(w, sa, m, reason);
	return 1;
}

uint32_t sp_inline_take(struct sp_worker *w, const struct sp_port *port, struct rte_mbuf **mbufs, uint32_t n, struct sp_esp *opened, uint32_t *n_opened,
			struct sp_packet *plain, uint32_t *n_plain)
{
	uint32_t left = 0, i = 0, run;

	*n_opened = 0;
	*n_plain = 0;
	if (!__atomic_load_n(&port->opens, __ATOMIC_RELAXED))
		return n;
	while (i < n) {
		if (likely(sp_secured(mbufs[i]))) {
			run = sp_inline_open_plain(w, port, mbufs + i, n - i, plain + *n_plain);
			*n_plain += run;
			i += run;
			if (run > 0)
				continue;
		}
		if (!sp_secured(mbufs[i]) || !take(w, port, mbufs[i], opened, n_opened))
			mbufs[left++] = mbufs[i];
		i++;
	}
	return left;
}

/*
 * Whether the NIC that has marked a packet may have meant another SA. A port that takes packets apart may have found this one in a tunnel whose SA is gone: it is ESP that no NIC has
 * decrypted, and whoever is at the tunnel's other end wrote it. Such ports say whose a packet was.
 */
static int of_another(const struct sp_worker *w, struct rte_mbuf *m, uint32_t spi)
{
	return __atomic_load_n(&w->dp->ports[m->port].opens, __ATOMIC_RELAXED) && *rte_security_dynfield(m) != spi;
}

/* A marked packet of an SA: SP_PASS or the reason to drop it. */
static uint8_t judge(const struct sp_worker *w, const struct sp_sa_in *sa, const struct sp_esp *p)
{
	const struct sp_inline *in = sp_sa_in_inline(sa);

	if (in == NULL || !sp_inline_on(w, in, p->mbuf->port))
		return SP_DROP_INLINE_SESSION;
	if (sp_found_forged(p->mbuf))
		return SP_DROP_AUTH_FAILED;
	if (of_another(w, p->mbuf, sa->spi))
		return SP_DROP_INLINE_SESSION;
	return (p->form == SP_FORM_OPENED) == (in->protocol != 0) ? SP_PASS : SP_DROP_INLINE_SESSION;
}

/* A marked packet: 1 if it is its SA's to open, else it is disposed of. One without an SA comes no further: one may be there a moment later, whose port has said nothing. */
static int admit(struct sp_worker *w, const struct sp_esp *p)
{
	const uint32_t spi = rte_be_to_cpu_32(sp_load32(p->esp));
	const struct sp_sa_in *sa = sa_of(w, spi);
	uint8_t reason;

	if (sa == NULL) {
		if (sp_found_forged(p->mbuf))
			sp_drop(w, p->mbuf, SP_DROP_AUTH_FAILED);
		else if (of_another(w, p->mbuf, spi))
			sp_drop(w, p->mbuf, SP_DROP_INLINE_SESSION);
		else
			sp_inbound_stray(w, p, spi);
		return 0;
	}
	reason = judge(w, sa, p);
	if (unlikely(reason != SP_PASS))
		sp_sa_in_drop(w, sa, p->mbuf, reason);
	return reason == SP_PASS;
}

uint32_t sp_inline_admit(struct sp_worker *w, struct sp_esp *packets, uint32_t n)
{
	uint32_t good = 0;

	for (uint32_t i = 0; i < n; i++)
		if (!sp_secured(packets[i].mbuf) || admit(w, &packets[i]))
			packets[good++] = packets[i];
	return good;
}

uint32_t sp_inline_unpack(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t *n, struct sp_packet *inner, struct sp_packet6 *wide, uint32_t *n_wide)
{
	const uint16_t port = packets[0].mbuf->port;
	const uint32_t all = *n, n_inner = sp_whole_unpack(w, sa, packets, n, inner, wide, n_wide);

	sp_add(0, &w->unopened[port].done, all - *n);
	sp_add(0, &sp_sa_in_inline(sa)->packets, all - *n);
	return n_inner;
}

void sp_inline_catch_up(struct sp_sa_in *sa)
{
	const struct sp_inline *in = sp_sa_in_inline(sa);

	if (in->protocol && in->packets > sa->replay.top)
		sp_replay_advance(&sa->replay, in->packets);
}

void sp_inline_unnumbered(struct sp_worker *w, struct sp_sa_in *sa, const struct sp_esp *packets, uint32_t n)
{
	const uint16_t port = packets[0].mbuf->port;
	const int here = sp_sa_in_inline(sa)->port == port;
	uint32_t unopened = 0;

	for (uint32_t i = 0; i < n; i++) {
		const int whole = (packets[i].mbuf->ol_flags & w->dp->outer_reassembled_flag) == 0;

		if (sp_replay_update(&sa->replay, packets[i].sequence) == SP_PASS && whole && here)
			unopened++;
		sp_sa_in_drop(w, sa, packets[i].mbuf, SP_DROP_INLINE_WINDOW);
	}
	if (unopened > 0)
		sp_inline_unopened(w, port, unopened);
	sp_tell_inline(w, sa);
}

uint32_t sp_inline_decrypt(struct sp_worker *w, struct sp_sa_in *sa, struct sp_esp *packets, uint32_t n)
{
	struct sp_inline *in = sp_sa_in_inline(sa);
	uint32_t good = 0, opened = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = packets[i].mbuf;

		if (likely(sp_inline_decrypted(w, in, m))) {
			opened++;
		} else if (sp_direct_decrypt(w, sa, &packets[i], 1) != 0) {
			sp_sa_in_drop(w, sa, m, SP_DROP_AUTH_FAILED);
			continue;
		}
		if (unlikely(good != i))
			packets[good] = packets[i];
		good++;
	}
	sp_add(0, &in->packets, opened);
	return good;
}

/* ---- outbound ---- */

static int stopped(const struct sp_inline *in)
{
	return __atomic_load_n(&in->stopped, __ATOMIC_SEQ_CST);
}

void sp_sa_out_lose(struct sp_sa_out *sa)
{
	if (sa->inlined)
		__atomic_store_n(&sa->inline_->stopped, 1, __ATOMIC_SEQ_CST);
}

/* Before the CPU reserves its first number: whoever has reserved one for the NIC looks afterwards, and finds the NIC stopped or a number below that of the CPU. */
void sp_inline_stop(struct sp_sa_out *sa)
{
	if (sa->inline_->protocol)
		sp_sa_out_lose(sa);
}

/* Whether a packet is the CPU's to send, in pieces. */
static int cut_after(const struct sp_worker *w, const struct sp_sa_out *sa, const struct sp_packet *p)
{
	const struct sp_fields fields = sp_fields_of(&sa->encapsulation);

	return sp_cut_after(w, sa, &fields, p);
}

/* Makes a frame of an inner packet. */
static void frame(const struct sp_packet *p, const struct sp_sa_out *sa, const struct sp_adjacency *next)
{
	sp_mbuf_bounds(p->mbuf, p->l3 - SP_L2_LENGTH, SP_L2_LENGTH + (uint32_t)p->length);
	memcpy(p->l3 - SP_L2_LENGTH, next->l2, SP_L2_LENGTH);
	sp_set_mark_sa(p->mbuf, sa->subject);
}

uint32_t sp_inline_enter(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct sp_packet **packets, uint32_t *n)
{
	const int ipv6 = sp_is_ipv6(packets[0]->l3);
	const uint16_t mtu = sp_sa_out_mtu(sa, next), mss = sp_mss_out(sa, mtu, ipv6);
	struct sp_inline *in = sa->inline_;
	struct rte_mbuf *mbufs[SP_BURST];
	uint64_t sequence, bytes, frames = 0;
	uint32_t plain, good, i;

	if (unlikely(!sp_inline_by(w, in, next->port)))
		return 0;
	sequence = sp_reserve(w, sa, packets, n);
	if (unlikely(*n == 0 || stopped(in))) { /* without a number they are gone; by another worker, meanwhile */
		sp_reserved(sa, sequence, 0);
		return 0;
	}
	plain = sp_inline_enter_plain(w, sa, next, packets, *n, &bytes);
	good = plain;
	for (i = plain; i < *n; i++) {
		struct sp_packet *p = packets[i];
		const uint32_t total = sp_whole_total(sa, p->length);

		if (unlikely(total > mtu && cut_after(w, sa, p)))
			break;
		if (unlikely(total > mtu || !sp_whole_enters(sa, p, ipv6, total))) {
			sp_outbound_reject(w, sa, mtu, p, total);
			continue;
		}
		frame(p, sa, next);
		if (unlikely(!sp_inline_leave(in, p->mbuf, sequence + good))) {
			sp_inline_refused(w, next->port, 1);
			break;
		}
		sp_mss_clamp(p, mss);
		sp_whole_take_hop(p, ipv6);
		bytes += p->length;
		frames += SP_L2_LENGTH + (uint64_t)p->length;
		mbufs[good++ - plain] = p->mbuf;
	}
	sp_reserved(sa, sequence, good);
	if (unlikely(good == 0))
		return i;
	sp_add(sa->shared, &sa->packets, good);
	sp_add(sa->shared, &sa->bytes, bytes);
	sp_add(sa->shared, &in->packets, good);
	__atomic_store_n(&sa->last_use, w->now, __ATOMIC_RELAXED);
	sp_transmit_run(w, next->port, mbufs, good - plain, frames);
	return i;
}

void sp_inline_seal(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, struct rte_mbuf **mbufs, uint64_t sequence, uint32_t n, uint64_t frames)
{
	struct sp_inline *in = sa->inline_;
	const int here = sp_inline_by(w, in, next->port);
	uint32_t left = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (likely(here && sp_inline_leave(in, mbufs[i], sequence + i)))
			left++;
		else
			sp_direct_encrypt(w, sa, &mbufs[i], sequence + i, 1);
	}
	if (unlikely(here && left < n))
		sp_inline_refused(w, next->port, n - left);
	sp_add(sa->shared, &in->packets, left);
	sp_transmit_run(w, next->port, mbufs, n, frames);
}

/* Whether a frame leaves as it is by the port that has the session. What is cut after encryption has to be encrypted before. */
static int fits_port(const struct sp_worker *w, const struct sp_sa_out *sa, const struct sp_adjacency *next, const struct rte_mbuf *m)
{
	return !sa->inline_->protocol && sp_inline_by(w, sa->inline_, next->port) && m->data_len <= sp_sa_out_mtu(sa, next) + SP_L2_LENGTH;
}

/* The IVs of packets of one SA: the CPU's, whoever encrypts. Returns a bit for each that has none. */
static uint32_t write_ivs(struct sp_worker *w, const struct sp_crypt *crypts, uint32_t which)
{
	const struct sp_transform *t = crypts->transform;

	for (uint32_t left = which; left != 0; left &= left - 1) {
		const struct sp_crypt *c = &crypts[__builtin_ctz(left)];

		sp_write_iv(t, c->payload - t->iv_length, c->sequence);
	}
	return t->cipher == SP_CIPHER_CBC && which != 0 ? sp_job_ivs(w, crypts, which) : 0;
}

uint32_t sp_inline_mark(struct sp_worker *w, struct sp_sa_out *sa, const struct sp_adjacency *next, const struct sp_crypt *crypts, uint32_t n, uint32_t *failed)
{
	uint32_t which = 0, marked = 0;

	for (uint32_t i = 0; i < n; i++)
		which |= (uint32_t)fits_port(w, sa, next, crypts[i].mbuf) << i;
	*failed = write_ivs(w, crypts, which);
	for (uint32_t left = which & ~*failed; left != 0; left &= left - 1) {
		const uint32_t i = (uint32_t)__builtin_ctz(left);
		struct rte_mbuf *m = crypts[i].mbuf;

		memcpy(rte_pktmbuf_mtod(m, uint8_t *), next->l2, SP_L2_LENGTH);
		marked |= (uint32_t)sp_inline_leave(sa->inline_, m, crypts[i].sequence) << i;
	}
	if (unlikely((which & ~*failed) != marked))
		sp_inline_refused(w, next->port, (uint32_t)__builtin_popcount(which & ~*failed & ~marked));
	sp_add(sa->shared, &sa->inline_->packets, (uint64_t)__builtin_popcount(marked));
	return marked;
}
