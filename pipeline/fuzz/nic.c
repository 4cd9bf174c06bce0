/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <stdlib.h>

#include <rte_mbuf_dyn.h>
#include <rte_security.h>
#include <rte_security_driver.h>

#include "../esp.h"
#include "../inline.h"
#include "../ipv6.h"
#include "../mbuf.h"
#include "../stages.h"
#include "hostile.h"
#include "nic.h"

#define SESSIONS 1024 /* of one input */

/* Of one outbound SA. */
struct nic_session {
	struct rte_security_session fast; /* which has the mark of the SA's packets, where the driver has nothing to do for one */
	struct sp_sa_out *twin;           /* NULL: closed */
	const struct sp_sa_out *sa;       /* that has the session */
	enum tunnel tunnel;
	int protocol;
	uint64_t next;     /* of inline protocol: the number of its next packet */
	uint64_t reserved; /* the highest number of a packet that it was left */
};

static struct nic_session nic_sessions[SESSIONS];
static uint32_t refusals;
static enum tunnel coming = TUNNELS;
static uint64_t forged_flag; /* in ol_flags: the NIC has found the packet forged. Nobody takes it off */

static int announce(void *device __rte_unused, struct rte_security_session *session, struct rte_mbuf *m, void *parameters)
{
	struct nic_session *s = (struct nic_session *)(void *)session;
	uint64_t sequence;

	memcpy(&sequence, parameters, sizeof(sequence));
	if (refusals > 0) {
		refusals--;
		return -ENOBUFS;
	}
	CHECK(s->twin != NULL, "a packet is left to a session that is closed");
	s->reserved = RTE_MAX(s->reserved, sequence);
	*rte_security_dynfield(m) = (uint64_t)(s - nic_sessions);
	return 0;
}

void *nic_context(int fast)
{
	static const struct rte_security_ops ops = {.set_pkt_metadata = announce};
	static struct rte_security_ctx contexts[] = {{.ops = &ops}, {.ops = &ops, .flags = RTE_SEC_CTX_F_FAST_SET_MDATA}};

	return &contexts[fast != 0];
}

void nic_refuse(uint32_t n)
{
	refusals = n;
}

void nic_start(void)
{
	static const struct rte_mbuf_dynflag flag = {.name = "fuzz_forged"};
	int bit = rte_mbuf_dynflag_register(&flag);

	CHECK(bit >= 0, "no flag in mbufs");
	forged_flag = RTE_BIT64((uint32_t)bit);
}

void nic_awaits(enum tunnel t)
{
	coming = t;
}

/* The linker has the fast path call this in place of sp_inline_admit: an SA may come at any moment, and here the marks have been looked at. */
uint32_t __real_sp_inline_admit(struct sp_worker *w, struct sp_esp *packets, uint32_t n);
uint32_t __wrap_sp_inline_admit(struct sp_worker *w, struct sp_esp *packets, uint32_t n);
uint32_t __wrap_sp_inline_admit(struct sp_worker *w, struct sp_esp *packets, uint32_t n)
{
	n = __real_sp_inline_admit(w, packets, n);
	if (coming != TUNNELS && w->dp == ours.dp) {
		tunnel_come(coming);
		coming = TUNNELS;
	}
	return n;
}

void *nic_open(enum tunnel t, struct sp_sa_out *twin, int protocol, uint64_t first_sequence)
{
	struct nic_session *s = nic_sessions;

	while (s < nic_sessions + SESSIONS && s->twin != NULL)
		s++;
	CHECK(s < nic_sessions + SESSIONS, "too many sessions");
	*s = (struct nic_session){.twin = twin, .tunnel = t, .protocol = protocol, .next = first_sequence};
	rte_security_session_fast_mdata_set(&s->fast, (uint64_t)(s - nic_sessions));
	return s;
}

void nic_attach(void *session, const struct sp_sa_out *sa)
{
	((struct nic_session *)session)->sa = sa;
}

void nic_close(void *session)
{
	struct nic_session *s = session;

	CHECK(s->twin != NULL, "a session is closed twice");
	sp_sa_out_free(s->twin);
	s->twin = NULL;
}

/* Bytes that an IP packet says it has. */
static uint32_t length_of(const uint8_t *l3)
{
	return sp_is_ipv6(l3) ? SP_IPV6_LENGTH + rte_be_to_cpu_16(sp_load16(l3 + 4)) : rte_be_to_cpu_16(sp_load16(l3 + 2));
}

/* ESP that is complete but for encryption and ICV. */
static void encrypt(const struct nic_session *s, struct rte_mbuf *m)
{
	const struct sp_transform *t = &s->twin->transform;
	uint8_t *l3 = rte_pktmbuf_mtod(m, uint8_t *) + SP_L2_LENGTH;
	uint8_t *esp = l3 + (sp_is_ipv6(l3) ? SP_IPV6_LENGTH : SP_IPV4_LENGTH) + (s->twin->udp ? SP_UDP_LENGTH : 0);
	uint8_t iv[16] = {0};
	struct sp_crypt c = {.mbuf = m, .transform = t, .start = esp, .payload = esp + SP_ESP_LENGTH + t->iv_length};

	CHECK((int)sp_is_ipv6(l3) == tunnel_wide(s->tunnel) && sp_load32(esp) == t->spi_be, "a packet of another SA is left to tunnel %u", s->tunnel);
	CHECK(c.payload + t->icv_length + t->block_mask < l3 + length_of(l3), "a packet of %u bytes is left to be encrypted", length_of(l3));
	c.icv = l3 + length_of(l3) - t->icv_length;
	c.payload_length = (uint32_t)(c.icv - c.payload);
	c.sequence = s->reserved - (uint32_t)((uint32_t)s->reserved - rte_be_to_cpu_32(sp_load32(esp + 4)));
	memcpy(iv, esp + SP_ESP_LENGTH, t->iv_length);
	CHECK((c.payload_length & t->block_mask) == 0, "%u bytes are left to be encrypted", c.payload_length);
	CHECK(sp_crypt_seal(peer.dp->workers[0], &c, 1) == 0, "tunnel %u", s->tunnel);
	CHECK(memcmp(iv, esp + SP_ESP_LENGTH, t->iv_length) == 0, "a packet of tunnel %u is left without its IV", s->tunnel);
}

/* An inner packet, which gets all of ESP. */
static void enclose(struct nic_session *s, const struct rte_mbuf *m, struct frame *out)
{
	static struct forgery f;
	const uint8_t *l3 = rte_pktmbuf_mtod(m, const uint8_t *) + SP_L2_LENGTH;
	const uint32_t mask = s->twin->transform.block_mask;
	const int fast = s->sa->inline_->context == nic_context(1);
	struct rte_mbuf *made = rte_pktmbuf_alloc(pool);

	CHECK(made != NULL, "mbuf pool empty: leak");
	CHECK(s->next <= (fast ? s->sa->sequence : s->reserved), "number %lu is the NIC's next, and those up to %lu are reserved", s->next, fast ? s->sa->sequence : s->reserved);
	f = (struct forgery){.tunnel = s->tunnel, .sequence = (uint32_t)s->next++, .next_header = sp_is_ipv6(l3) ? SP_PROTOCOL_IPV6 : SP_NEXT_HEADER_IPV4};
	f.length = (length_of(l3) + SP_ESP_TRAILER + mask) & ~mask;
	CHECK(rte_pktmbuf_headroom(m) >= SP_TAG_LENGTH + (uint32_t)s->twin->header_length && rte_pktmbuf_tailroom(m) >= f.length - length_of(l3) + s->twin->transform.icv_length,
	      "a packet of %u bytes is left with %u in front and %u behind", length_of(l3), rte_pktmbuf_headroom(m), rte_pktmbuf_tailroom(m));
	f.pad = (uint8_t)(f.length - length_of(l3) - SP_ESP_TRAILER);
	memcpy(f.plain, l3, length_of(l3));
	for (uint8_t i = 0; i < f.pad; i++)
		f.plain[length_of(l3) + i] = (uint8_t)(i + 1);
	f.plain[f.length - 2] = f.pad;
	f.plain[f.length - 1] = f.next_header;
	write_packet(s->twin, &f, made, 1);
	out->length = made->data_len;
	memcpy(out->bytes, rte_pktmbuf_mtod(made, void *), out->length);
	memcpy(out->bytes, rte_pktmbuf_mtod(m, void *), SP_L2_LENGTH);
	sp_store16(out->bytes + 12, tunnel_wide(s->tunnel) ? RTE_BE16(0x86dd) : RTE_BE16(0x0800));
	rte_pktmbuf_free(made);
}

void nic_send(struct rte_mbuf *m, struct frame *f)
{
	struct nic_session *s = &nic_sessions[*rte_security_dynfield(m) % SESSIONS];
	const uint8_t *l3 = rte_pktmbuf_mtod(m, const uint8_t *) + SP_L2_LENGTH;

	CHECK(s->twin != NULL, "a packet is left to a session that is closed");
	CHECK(m->l2_len == SP_L2_LENGTH && m->data_len == SP_L2_LENGTH + length_of(l3), "a frame of %u bytes, %u of them the link layer's, has a packet of %u", m->data_len, m->l2_len, length_of(l3));
	if (s->protocol) {
		enclose(s, m, f);
		return;
	}
	encrypt(s, m);
	memcpy(f->bytes, rte_pktmbuf_mtod(m, void *), f->length);
}

void nic_receive(struct rte_mbuf *m)
{
	const uint32_t cut = RTE_MIN(arrival.cut, (uint32_t)m->data_len);

	if (cut > 0)
		sp_mbuf_bounds(m, rte_pktmbuf_mtod(m, uint8_t *), m->data_len - cut);
	m->ol_flags |= arrival.marks;
	if (arrival.marks & RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED)
		m->ol_flags |= forged_flag;
	*rte_security_dynfield(m) = arrival.userdata;
}

void nic_check(const struct rte_mbuf *m)
{
	CHECK((m->ol_flags & forged_flag) == 0, "a packet leaves that the NIC has found forged");
}

int op_nic(struct program *p, struct arrival *next)
{
	uint32_t how = take(p, 1), what = take(p, 1);
	enum tunnel t = take(p, 1) % TUNNELS;

	next->marks = (how & 1 ? RTE_MBUF_F_RX_SEC_OFFLOAD : 0) | (how & 2 ? RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED : 0);
	next->left = (enum left)((how >> 2 & 3) % 3);
	next->aside = how >> 4 & 1;
	next->cut = how & 32 ? take(p, 1) : 0;
	next->userdata = ours.spi[t];
	if (how & 64)
		take_bytes(p, (uint8_t *)&next->userdata, sizeof(next->userdata));
	if (what == 0)
		return 0;
	run(&ours); /* what is queued so far is as it was */
	nic_refuse(what & 15);
	if (what & 16)
		tunnel_lose(t);
	if (what & 32) {
		tunnel_expect(&ours, t);
		nic_awaits(t);
	}
	return (what & 48) != 0;
}
