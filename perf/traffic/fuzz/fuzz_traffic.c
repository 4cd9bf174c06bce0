/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The tester's loops under a fuzzer. What a sender makes comes to the receiver of its kind, in clear or by an SA, as it is or damaged on the way; frames of anybody come in between,
 * and ESP of a target that has the keys and puts into it what it likes. Each frame is counted once, what is as it was sent is counted as such, and of a received frame nothing is read
 * but its bytes: all around them is poisoned.
 */

#define _GNU_SOURCE /* CPU affinity */

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <intel-ipsec-mb.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sanitizer/asan_interface.h>

#include "../../../crypto/cryptodev/job.h"
#include "../loop.h"
#include "../packet.h"

#define FRAME_MAX 1700
#define FLOWS 4
#define WINDOW 64
#define RING 256

#define CHECK(condition)                                                                  \
	do {                                                                              \
		if (!(condition)) {                                                       \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                          \
		}                                                                         \
	} while (0)

/* What streams are like: in clear, then by an SA. */
enum kind {
	CLEAR4,
	CLEAR6,
	GCM4,     /* IPv4 in IPv4 */
	GCM6,     /* IPv6 in UDP in IPv6 */
	CBC_ESN,  /* the upper half of the number behind the packet */
	CHACHA_ESN, /* the whole number in what is authenticated */
	KINDS,
};

#define FIRST_SA GCM4
#define SAS (KINDS - FIRST_SA)
#define VLAN 7 /* of the station with tunnels */
#define INTEG_KEY 32

/* The stations: one in clear, one whose flows are in tunnels. Each hears itself. */
struct side {
	struct rte_ring *rx, *tx;
	struct traffic_sender sender;
	struct traffic_receiver receiver;
};

static struct side sides[2];
static struct traffic_fill fill;
static struct traffic_flow flows[KINDS][FLOWS];
static struct traffic_stream streams[KINDS];
static struct traffic_sink sinks[TRAFFIC_STREAMS];
static struct traffic_sas out_table, in_table;
static struct rte_mempool *made, *received; /* buffers of the second are poisoned around their frames */
static IMB_MGR *library;

static int in_tunnel(enum kind k)
{
	return k >= FIRST_SA;
}

static int wide(enum kind k)
{
	return k == CLEAR6 || k == GCM6;
}

/* ---- start ---- */

static void start_eal(void)
{
	char prefix[32], lcores[32];
	char *arguments[] = {"fuzz_traffic", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "64", "--log-level=lib.*:warning", prefix, lcores};
	cpu_set_t before;
	int first = 0;

	CHECK(sched_getaffinity(0, sizeof(before), &before) == 0);
	while (!CPU_ISSET(first, &before))
		first++;
	snprintf(prefix, sizeof(prefix), "--file-prefix=traffic%d", getpid());
	snprintf(lcores, sizeof(lcores), "--lcores=0@%d", first);
	CHECK(rte_eal_init((int)RTE_DIM(arguments), arguments) >= 0);
	sched_setaffinity(0, sizeof(before), &before);
}

static void fill_flows(enum kind k)
{
	for (uint8_t i = 0; i < FLOWS; i++) {
		struct traffic_flow *f = &flows[k][i];

		memset(f, 0, sizeof(*f));
		f->source[0] = f->destination[0] = wide(k) ? 0xfd : 10;
		f->source[1] = 1;
		f->destination[1] = 2;
		f->source[wide(k) ? 15 : 3] = f->destination[wide(k) ? 15 : 3] = i + 1;
		f->source_port_be = rte_cpu_to_be_16(20000);
		f->destination_port_be = rte_cpu_to_be_16(30000);
		f->tunnel = in_tunnel(k) ? k - FIRST_SA : 0;
	}
}

static void fill_stream(enum kind k)
{
	static const uint32_t order[FLOWS] = {0, 2, 1, 3};
	static const uint16_t lengths4[] = {46, 47, 60, 128, 1400}, lengths6[] = {66, 67, 80, 128, 1380}; /* the shortest that hold a mark */
	static uint64_t next[KINDS][FLOWS], bits[KINDS][FLOWS * WINDOW / 64], counts[KINDS][TRAFFIC_COUNTS];
	static struct traffic_track tracks[KINDS][FLOWS];

	fill_flows(k);
	streams[k] = (struct traffic_stream){
		.flows = flows[k], .order = order, .lengths = wide(k) ? lengths6 : lengths4, .next = next[k], .n_flows = FLOWS, .n_order = FLOWS, .n_lengths = RTE_DIM(lengths4), .extra = 1,
		.sas = in_tunnel(k) ? &out_table : NULL, .number = (uint8_t)k, .ipv6 = (uint8_t)wide(k), .burst = 1, .duration = UINT64_MAX,
	};
	sinks[k] = (struct traffic_sink){.tracks = tracks[k], .bits = bits[k], .counts = counts[k], .window = WINDOW, .shortest = UINT64_MAX};
}

/* A key of AES-GCM and its function, or a job. */
static void fill_key(enum kind k, struct traffic_sa *sa, int encrypt)
{
	static struct gcm_key_data keys[KINDS];
	static struct rte_mempool *jobs;
	static const uint8_t octets[INTEG_KEY] = {1, 2, 3};
	const struct spcrypto_job_config cbc = {
		.cipher = IMB_CIPHER_CBC, .hash = IMB_AUTH_HMAC_SHA_256, .key_length = 16, .integ_key_length = INTEG_KEY, .iv_length = 16, .icv_length = 16, .encrypt = (uint8_t)encrypt,
	};
	const struct spcrypto_job_config chacha = {
		.cipher = IMB_CIPHER_CHACHA20_POLY1305, .hash = IMB_AUTH_CHACHA20_POLY1305, .key_length = 32, .iv_length = 12, .icv_length = 16, .aad_length = 12, .encrypt = (uint8_t)encrypt,
	};
	aes_gcm_enc_dec_t gcm = encrypt ? library->gcm128_enc : library->gcm128_dec;

	if (sa->cipher == TRAFFIC_GCM) {
		IMB_AES128_GCM_PRE(library, octets, &keys[k]);
		sa->session = &keys[k];
		memcpy(&sa->gcm, &gcm, sizeof(gcm));
		return;
	}
	if (jobs == NULL)
		jobs = rte_mempool_create("jobs", 15, sizeof(struct spcrypto_job), 0, 0, NULL, NULL, NULL, NULL, 0, 0);
	CHECK(jobs != NULL);
	sa->session = spcrypto_job_create(library, k == CBC_ESN ? &cbc : &chacha, octets, octets, jobs);
	CHECK(sa->session != NULL);
}

/* An SA that ends where it begins. */
static void fill_sa(enum kind k, struct traffic_sa *out, struct traffic_sa *in)
{
	const uint32_t ip = wide(k) ? IPV6_LENGTH : IPV4_LENGTH, address = wide(k) ? 16 : 4;
	uint8_t *header = out->outer;

	*out = (struct traffic_sa){
		.spi_be = rte_cpu_to_be_32(0x1000u + k), .tunnel = k - FIRST_SA, .salt = {9, 8, 7, 6}, .salt_length = k == CBC_ESN ? 0 : 4, .iv_length = k == CBC_ESN ? 16 : 8,
		.icv_length = 16, .block = k == CBC_ESN ? 16 : 4, .cipher = TRAFFIC_GCM, .esn = k >= CBC_ESN, .sequence = k >= CBC_ESN ? 0xfffffff0 : 0, .udp = (uint8_t)wide(k),
		.ipv6 = (uint8_t)wide(k), .outer_length = (uint8_t)(ip + (wide(k) ? UDP_LENGTH : 0)),
	};
	if (k == CBC_ESN || k == CHACHA_ESN)
		out->cipher = k == CBC_ESN ? TRAFFIC_CBC : TRAFFIC_CHACHA;
	header[0] = wide(k) ? 0x60 : 0x45;
	header[wide(k) ? 6 : 9] = wide(k) ? NEXT_UDP : NEXT_ESP;
	header[wide(k) ? 7 : 8] = 64;
	memset(header + ip - 2 * address, 7, 2 * (size_t)address);
	memset(out->from, 7, address);
	if (wide(k)) {
		store16(header + ip, 4500);
		store16(header + ip + 2, 4500);
	}
	*in = *out;
	fill_key(k, out, 1);
	fill_key(k, in, 0);
}

static void start_sas(void)
{
	static struct traffic_sa out[SAS], in[SAS];
	static struct traffic_sa *of[SAS];
	static uint64_t spis[16];
	const uint32_t mask = RTE_DIM(spis) - 1;

	library = alloc_mb_mgr(0);
	CHECK(library != NULL);
	init_mb_mgr_auto(library, NULL);
	for (uint32_t i = 0; i < SAS; i++) {
		uint32_t at;

		fill_sa(FIRST_SA + i, &out[i], &in[i]);
		of[i] = &out[i];
		at = (out[i].spi_be * 0x9e3779b1U) >> 7; /* as traffic_find has it */
		while (spis[at & mask] != 0)
			at++;
		spis[at & mask] = (uint64_t)(i + 1) << 32 | out[i].spi_be;
	}
	out_table = (struct traffic_sas){.sas = out, .spis = spis, .of = of, .n = SAS, .mask = mask};
	in_table = out_table;
	in_table.sas = in;
}

static uint16_t start_port(struct side *s, const char *name)
{
	struct rte_eth_conf config = {0};
	char ring[32];
	int port;

	snprintf(ring, sizeof(ring), "%s_rx", name);
	s->rx = rte_ring_create(ring, RING, 0, 0);
	snprintf(ring, sizeof(ring), "%s_tx", name);
	s->tx = rte_ring_create(ring, RING, 0, 0);
	CHECK(s->rx != NULL && s->tx != NULL);
	port = rte_eth_from_rings(name, &s->rx, 1, &s->tx, 1, 0);
	CHECK(port >= 0 && rte_eth_dev_configure((uint16_t)port, 1, 1, &config) == 0);
	CHECK(rte_eth_rx_queue_setup((uint16_t)port, 0, 64, 0, NULL, received) == 0 && rte_eth_tx_queue_setup((uint16_t)port, 0, 64, 0, NULL) == 0);
	CHECK(rte_eth_dev_start((uint16_t)port) == 0);
	return (uint16_t)port;
}

static void start_side(struct side *s, const char *name, int secured)
{
	static const uint8_t near[6] = {2, 0, 0, 0, 0, 1}, far[6] = {2, 0, 0, 0, 0, 2};
	const uint16_t port = start_port(s, name);
	struct traffic_receiver *r = &s->receiver;
	char ring[32];

	s->sender = (struct traffic_sender){.pool = made, .fill = &fill, .port = port, .n_streams = 1};
	snprintf(ring, sizeof(ring), "%s_orders", name);
	s->sender.orders = rte_ring_create(ring, RING, 0, 0);
	memcpy(s->sender.mac, far, sizeof(far));
	memcpy(s->sender.gateway, near, sizeof(near));
	*r = (struct traffic_receiver){.sinks = sinks, .fill = &fill, .nanoseconds = UINT64_C(1) << 31, .n_streams = KINDS, .port = port, .listen_be = rte_cpu_to_be_16(30000)};
	snprintf(ring, sizeof(ring), "%s_reports", name);
	r->reports = rte_ring_create(ring, 8, 0, 0); /* few: it is full now and then */
	CHECK(s->sender.orders != NULL && r->reports != NULL);
	memcpy(r->mac, near, sizeof(near));
	for (enum kind k = 0; k < KINDS; k++)
		r->streams[k] = &streams[k];
	if (!secured)
		return;
	r->sas = &in_table;
	r->own = NULL; /* an SA that begins here ends here: nothing is reflected by its SPI */
	r->vlan = s->sender.vlan = VLAN;
	s->sender.crypto = traffic_crypto_create();
	r->crypto = traffic_crypto_create();
	CHECK(s->sender.crypto != NULL && r->crypto != NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc __rte_unused, char ***argv __rte_unused)
{
	start_eal();
	made = rte_pktmbuf_pool_create("made", 255, 0, 0, RTE_PKTMBUF_HEADROOM + 2048, 0);
	received = rte_pktmbuf_pool_create("received", 255, 0, 0, RTE_PKTMBUF_HEADROOM + 2048, 0);
	CHECK(made != NULL && received != NULL);
	traffic_fill_make(&fill);
	start_sas();
	for (enum kind k = 0; k < KINDS; k++)
		fill_stream(k);
	start_side(&sides[0], "clear", 0);
	start_side(&sides[1], "tunnels", 1);
	return 0;
}

/* ---- an input ---- */

struct input {
	const uint8_t *next, *end;
};

static uint32_t take(struct input *in)
{
	return in->next < in->end ? *in->next++ : 0;
}

/* A frame comes to a station. */
static void deliver(struct side *s, const uint8_t *frame, uint32_t length)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(received);

	CHECK(m != NULL);
	ASAN_UNPOISON_MEMORY_REGION(m->buf_addr, m->buf_len);
	memcpy(rte_pktmbuf_mtod(m, void *), frame, length);
	m->data_len = (uint16_t)length;
	m->pkt_len = length;
	ASAN_POISON_MEMORY_REGION(m->buf_addr, m->buf_len);
	ASAN_UNPOISON_MEMORY_REGION(rte_pktmbuf_mtod(m, void *), length);
	CHECK(rte_ring_enqueue(s->rx, m) == 0);
}

/* All frames that a station has counted, each as one thing. */
static uint64_t counted(const struct side *s)
{
	const struct traffic_seen *n = &s->receiver.seen;
	uint64_t sum = n->arp + n->icmp + n->ike + n->foreign + n->fragments + n->mangled + n->reflected + n->cleartext + n->other_address + n->other_tunnel + n->stale +
		       n->unknown_spi + n->forged + n->malformed;

	for (enum kind k = 0; k < KINDS; k++)
		if (in_tunnel(k) == (s == &sides[1]))
			sum += sinks[k].packets;
	return sum;
}

static void receive(struct side *s)
{
	void *m;

	while (traffic_receive(&s->receiver) > 0)
		;
	while (rte_ring_dequeue(s->receiver.reports, &m) == 0)
		rte_pktmbuf_free(m);
	CHECK(counted(s) == s->receiver.seen.frames);
}

/* Damages a frame: an octet, its end, or what is behind it. */
static uint32_t damage(struct input *in, uint8_t *frame, uint32_t length, uint32_t how)
{
	const uint32_t at = (take(in) << 8 | take(in)) % length;

	switch (how) {
	case 1:
		frame[at] ^= (uint8_t)(take(in) | 1);
		return length;
	case 2:
		return at;
	default:
		memset(frame + length, (int)take(in), at % 64);
		return length + at % 64;
	}
}

#define STREAM_MAX (1 + 255 / KINDS)

/* What comes of a stream's packets on the way: the upper bits of an operation. */
enum way {
	BACKWARD = 4,
	TWICE = 8,
	LATER = 16, /* of another trial */
};

/* Takes what a station has sent, each as long as lengths has it. */
static uint32_t sent_by(struct side *s, uint8_t frames[][FRAME_MAX], uint32_t lengths[])
{
	uint32_t n = 0;
	void *object;

	while (traffic_send(&s->sender, 1, 0) > 0)
		;
	while (rte_ring_dequeue(s->tx, &object) == 0) {
		struct rte_mbuf *m = object;

		CHECK(n < STREAM_MAX && m->data_len <= FRAME_MAX - 64 && m->nb_segs == 1);
		memcpy(frames[n], rte_pktmbuf_mtod(m, void *), m->data_len);
		lengths[n++] = m->data_len;
		rte_pktmbuf_free(m);
	}
	return n;
}

/* Packets of a stream, as they are sent and as they come. */
static void op_stream(struct input *in, uint32_t op, uint32_t what)
{
	static uint8_t frames[STREAM_MAX][FRAME_MAX];
	uint32_t lengths[STREAM_MAX];
	const enum kind k = what % KINDS;
	struct side *s = &sides[in_tunnel(k)];
	const uint32_t n = 1 + what / KINDS, how = take(in) & 3, times = op & TWICE ? 2 : 1;
	const uint64_t before = sinks[k].packets;

	s->sender.streams[0] = &streams[k];
	s->receiver.trial = op & LATER ? 1 : 0;
	streams[k].limit = streams[k].built + n;
	streams[k].ended = 0;
	CHECK(sent_by(s, frames, lengths) == n);
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t at = op & BACKWARD ? n - 1 - i : i;

		if (how != 0)
			lengths[at] = damage(in, frames[at], lengths[at], how);
		for (uint32_t copy = 0; copy < times; copy++)
			deliver(s, frames[at], lengths[at]);
	}
	receive(s);
	CHECK(how != 0 || sinks[k].packets == before + (op & LATER ? 0 : times * n));
}

/* ESP of a target that has the keys of AES-GCM: what is inside, padding and next header included, is as it likes. */
static void op_forged(struct input *in, uint32_t what)
{
	static uint8_t frame[FRAME_MAX];
	struct gcm_context_data context;
	const struct traffic_sa *sa = &out_table.sas[what & 1];
	struct side *s = &sides[1];
	const uint64_t forged = s->receiver.seen.forged;
	const uint32_t ip = ETHER + VLAN_TAG, headers = sa->ipv6 ? IPV6_LENGTH : IPV4_LENGTH;
	uint32_t length = RTE_MIN((uint32_t)(in->end - in->next), (what >> 1) * 4) & ~3U, size = sa->outer_length + ESP_LENGTH + 8u + length + sa->icv_length;
	uint8_t *esp = frame + ip + sa->outer_length, nonce[12] = {0};
	uint16_t sum;

	memset(frame, 0, ip);
	memcpy(frame, s->receiver.mac, 6);
	store16(frame + 12, ETHER_TYPE_VLAN);
	store16(frame + 14, VLAN);
	store16(frame + 16, sa->ipv6 ? ETHER_TYPE_IPV6 : ETHER_TYPE_IPV4);
	memcpy(frame + ip, sa->outer, sa->outer_length);
	store16(frame + ip + (sa->ipv6 ? 4 : 2), sa->ipv6 ? size - headers : size);
	if (sa->udp)
		store16(frame + ip + headers + 4, size - headers);
	if (!sa->ipv6) {
		sum = (uint16_t)~rte_raw_cksum(frame + ip, headers);
		memcpy(frame + ip + 10, &sum, 2);
	}
	memset(esp, 0, ESP_LENGTH + 8);
	memcpy(esp, &sa->spi_be, 4);
	memcpy(esp + ESP_LENGTH + 8, in->next, length);
	in->next += length;
	memcpy(nonce, sa->salt, 4);
	library->gcm128_enc(sa->session, &context, esp + ESP_LENGTH + 8, esp + ESP_LENGTH + 8, length, nonce, esp, ESP_LENGTH, esp + ESP_LENGTH + 8 + length, sa->icv_length);
	deliver(s, frame, ip + size);
	receive(s);
	CHECK(s->receiver.seen.forged == forged); /* nothing was: the keys are right */
}

/* A frame of anybody. */
static void op_raw(struct input *in, uint32_t what)
{
	static uint8_t frame[FRAME_MAX];
	struct side *s = &sides[what & 1];
	uint32_t length = RTE_MIN((uint32_t)(in->end - in->next), what * 4u), start = 0;

	if (what & 2) { /* for the station, and of a type that it looks at */
		static const uint16_t types[] = {ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHER_TYPE_ARP, ETHER_TYPE_VLAN};

		memcpy(frame, s->receiver.mac, 6);
		memset(frame + 6, 4, 6);
		if (s->receiver.vlan != 0) {
			store16(frame + 12, ETHER_TYPE_VLAN);
			store16(frame + 14, s->receiver.vlan);
		}
		start = s->receiver.vlan != 0 ? ETHER + VLAN_TAG : ETHER;
		store16(frame + start - 2, types[what >> 2 & 3]);
	}
	memcpy(frame + start, in->next, length);
	in->next += length;
	deliver(s, frame, start + length);
	receive(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {.next = data, .end = data + size};

	while (in.next < in.end) {
		const uint32_t op = take(&in), what = take(&in);

		switch (op & 3) {
		case 0:
			op_raw(&in, what);
			break;
		case 1:
			op_forged(&in, what);
			break;
		default:
			op_stream(&in, op, what);
		}
	}
	for (uint32_t i = 0; i < RTE_DIM(sides); i++)
		traffic_sender_finish(&sides[i].sender);
	CHECK(rte_mempool_in_use_count(made) == 0 && rte_mempool_in_use_count(received) == 0);
	return 0;
}
