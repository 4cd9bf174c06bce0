/*
 * The software NIC under a fuzzer: frames as they are, received and sent; and packets that go out and come in again, damaged on the way or not. Each is in memory of exactly its
 * length, so that the sanitizer sees every octet that is read or written beside it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_mbuf.h>

#include "../frame.h"
#include "../nic.h"

#define PAIRS_MAX 256
#define FRAME_MAX 2048
#define SPI 0x1000u
#define VLAN 7 /* of all tags */

#define CHECK(condition)                                                                  \
	do {                                                                              \
		if (!(condition)) {                                                       \
			fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                          \
		}                                                                         \
	} while (0)

/* An SA with a session for each direction. */
struct pair {
	struct rte_security_session *out, *in;
	uint8_t ipv6, udp, transport, protocol;
	uint8_t vlan; /* its rule is of frames with one tag */
};

static struct pair pairs[PAIRS_MAX];
static uint32_t n_pairs;
static uint16_t port;
static struct sp_nic *nic;
static struct rte_mempool *mbufs, *sessions;
static uint64_t numbers[PAIRS_MAX]; /* of inline crypto */

static const uint8_t ends[2][16] = {{0x20, 1, 0xd, 0xb8, [15] = 1}, {0x20, 1, 0xd, 0xb8, [15] = 2}};

static struct rte_security_session *make_session(struct pair *p, uint32_t spi, enum sp_nic_suite suite, int esn, int outbound)
{
	static const uint8_t key[32] = {1}, integ_key[32] = {2};
	struct rte_crypto_sym_xform aead = {.type = RTE_CRYPTO_SYM_XFORM_AEAD}, cipher = {.type = RTE_CRYPTO_SYM_XFORM_CIPHER}, auth = {.type = RTE_CRYPTO_SYM_XFORM_AUTH};
	struct rte_security_session_conf conf = {
		.action_type = p->protocol ? RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL : RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO,
		.protocol = RTE_SECURITY_PROTOCOL_IPSEC,
		.ipsec = {
			.spi = spi,
			.direction = outbound ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS,
			.proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP,
			.mode = p->transport ? RTE_SECURITY_IPSEC_SA_MODE_TRANSPORT : RTE_SECURITY_IPSEC_SA_MODE_TUNNEL,
			.tunnel = {.type = p->ipv6 ? RTE_SECURITY_IPSEC_TUNNEL_IPV6 : RTE_SECURITY_IPSEC_TUNNEL_IPV4},
			.replay_win_sz = p->protocol && !outbound ? 128 : 0,
			.udp = {.sport = SP_NIC_PORT_NATT, .dport = SP_NIC_PORT_NATT},
		},
	};
	const int sha1 = suite < SP_NIC_CBC_128_SHA256;

	conf.ipsec.options.esn = p->protocol && esn;
	conf.ipsec.options.udp_encap = p->udp;
	conf.ipsec.options.ecn = p->protocol && !p->transport;
	if (p->ipv6) {
		memcpy(&conf.ipsec.tunnel.ipv6.src_addr, ends[0], 16);
		memcpy(&conf.ipsec.tunnel.ipv6.dst_addr, ends[1], 16);
	} else {
		memcpy(&conf.ipsec.tunnel.ipv4.src_ip, ends[0], 4);
		memcpy(&conf.ipsec.tunnel.ipv4.dst_ip, ends[1] + 12, 4);
	}
	aead.aead.algo = RTE_CRYPTO_AEAD_AES_GCM;
	aead.aead.digest_length = 16;
	cipher.cipher.algo = RTE_CRYPTO_CIPHER_AES_CBC;
	auth.auth.algo = sha1 ? RTE_CRYPTO_AUTH_SHA1_HMAC : RTE_CRYPTO_AUTH_SHA256_HMAC;
	auth.auth.digest_length = sha1 ? 12 : 16;
	auth.auth.key.data = integ_key;
	auth.auth.key.length = sha1 ? 20 : 32;
	aead.aead.key.data = cipher.cipher.key.data = key;
	aead.aead.key.length = cipher.cipher.key.length = (uint16_t)(16 + 8 * (suite % 3));
	cipher.next = &auth;
	conf.crypto_xform = suite <= SP_NIC_GCM_256 ? &aead : &cipher;
	return rte_security_session_create(rte_eth_dev_get_sec_ctx(port), &conf, sessions);
}

static void make_rule(const struct pair *p, uint32_t spi)
{
	struct rte_flow_item_ipv4 four = {0};
	struct rte_flow_item_ipv6 six = {0}, six_mask = {0};
	const struct rte_flow_item_ipv4 four_mask = {.hdr = {.dst_addr = RTE_BE32(UINT32_MAX)}};
	const struct rte_flow_item_esp esp = {.hdr = {.spi = rte_cpu_to_be_32(spi)}};
	const struct rte_flow_item_vlan vlan = {.hdr = {.vlan_tci = RTE_BE16(VLAN)}};
	const struct rte_flow_item pattern[] = {
		{.type = p->vlan ? RTE_FLOW_ITEM_TYPE_VLAN : RTE_FLOW_ITEM_TYPE_VOID, .spec = &vlan},
		{.type = p->ipv6 ? RTE_FLOW_ITEM_TYPE_IPV6 : RTE_FLOW_ITEM_TYPE_IPV4, .spec = p->ipv6 ? (void *)&six : (void *)&four,
		 .mask = p->ipv6 ? (const void *)&six_mask : (const void *)&four_mask},
		{.type = RTE_FLOW_ITEM_TYPE_ESP, .spec = &esp},
		{.type = RTE_FLOW_ITEM_TYPE_END},
	};
	const struct rte_flow_attr attributes = {.ingress = 1};
	const struct rte_flow_action_security security = {.security_session = p->in};
	const struct rte_flow_action actions[] = {{.type = RTE_FLOW_ACTION_TYPE_SECURITY, .conf = &security}, {.type = RTE_FLOW_ACTION_TYPE_END}};
	struct rte_flow_error error;

	memcpy(&four.hdr.dst_addr, ends[1] + 12, 4);
	memcpy(six.hdr.dst_addr, ends[1], 16);
	memset(six_mask.hdr.dst_addr, 0xff, 16);
	CHECK(rte_flow_create(port, &attributes, pattern, actions, &error) != NULL);
}

static void make_pairs(void)
{
	for (uint32_t suite = 0; suite < SP_NIC_SUITES; suite++) {
		for (uint32_t form = 0; form < 24; form++) {
			struct pair *p = &pairs[n_pairs];
			uint32_t spi = SPI + n_pairs++;

			*p = (struct pair){.ipv6 = form & 1, .udp = form >> 1 & 1, .transport = form >> 2 & 1, .protocol = form >= 8, .vlan = (form ^ suite) & 1};
			p->out = make_session(p, spi, suite, form >= 16, 1);
			p->in = make_session(p, spi, suite, form >= 16, 0);
			CHECK(p->out != NULL && p->in != NULL);
			make_rule(p, spi);
		}
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char *arguments[] = {"fuzz_nic", "--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry", "--log-level=error", "-l", "0", "--vdev", "net_null0", NULL};
	const struct rte_eth_conf conf = {0};
	const struct sp_nic_options options = {.crypto = 1, .protocol = 1, .suites = (1u << SP_NIC_SUITES) - 1, .sessions = 2 * PAIRS_MAX};

	(void)argc;
	(void)argv;
	CHECK(rte_eal_init(12, arguments) >= 0);
	CHECK(rte_eth_dev_get_port_by_name("net_null0", &port) == 0);
	CHECK(rte_eth_dev_configure(port, 1, 1, &conf) == 0);
	CHECK(sp_nic_attach(port, 1, &options) == 0);
	nic = sp_nic_of(port);
	mbufs = rte_pktmbuf_pool_create("mbufs", 15, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	sessions = rte_mempool_create("sessions", 2 * PAIRS_MAX, rte_security_session_get_size(rte_eth_dev_get_sec_ctx(port)), 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
	CHECK(mbufs != NULL && sessions != NULL);
	make_pairs();
	return 0;
}

/* What there is of the input. */
struct input {
	const uint8_t *at;
	size_t left;
};

static uint32_t take(struct input *in, uint32_t octets)
{
	uint32_t value = 0;

	for (; octets > 0 && in->left > 0; octets--, in->at++, in->left--)
		value = value << 8 | *in->at;
	return value;
}

static void give_back(void *memory, void *opaque)
{
	(void)opaque;
	free(memory);
}

/* A packet in memory of its own. */
static struct rte_mbuf *packet_of(const uint8_t *frame, uint32_t length, uint32_t front, uint32_t back)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(mbufs);
	static struct rte_mbuf_ext_shared_info shared; /* one packet at a time */
	uint8_t *memory = malloc(RTE_MAX(front + length + back, 1u));

	CHECK(m != NULL && memory != NULL);
	shared = (struct rte_mbuf_ext_shared_info){.free_cb = give_back};
	rte_mbuf_ext_refcnt_set(&shared, 1);
	rte_pktmbuf_attach_extbuf(m, memory, 0, (uint16_t)(front + length + back), &shared);
	m->data_off = (uint16_t)front;
	m->data_len = (uint16_t)length;
	m->pkt_len = length;
	memcpy(memory + front, frame, length);
	return m;
}

/* Takes the packet's frame and frees it. */
static uint32_t frame_of(struct rte_mbuf *m, uint8_t *frame)
{
	uint32_t length = m->data_len;

	CHECK(length <= FRAME_MAX && m->pkt_len == length && m->data_off + length <= m->buf_len);
	memcpy(frame, rte_pktmbuf_mtod(m, uint8_t *), length);
	rte_pktmbuf_free(m);
	return length;
}

/* Sends a frame by the session; 1: it went out, and is what stands in *frame then. */
static int send_frame(const struct pair *p, uint8_t *frame, uint32_t *length, uint32_t front, uint32_t back)
{
	struct rte_mbuf *m = packet_of(frame, *length, front, back);
	uint16_t type;
	int sent;

	m->l2_len = sp_nic_l2(frame, *length, &type);
	m->ol_flags |= RTE_MBUF_F_TX_SEC_OFFLOAD;
	CHECK(rte_security_set_pkt_metadata(&nic->context, p->out, m, NULL) == 0);
	sent = sp_nic_transmit(port, 0, &m, 1, &nic->tx[0]);
	CHECK(sent == ((m->ol_flags & RTE_MBUF_F_TX_SEC_OFFLOAD) == 0));
	*length = frame_of(m, frame);
	return sent;
}

/* Receives a frame: the flags, 0 also when nothing came. */
static uint64_t receive_frame(uint8_t *frame, uint32_t *length)
{
	struct rte_mbuf *m = packet_of(frame, *length, 0, 0);
	uint64_t flags;

	if (sp_nic_receive(port, 0, &m, 1, 1, &nic->rx[0]) == 0)
		return 0;
	flags = m->ol_flags & (RTE_MBUF_F_RX_SEC_OFFLOAD | RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED);
	*length = frame_of(m, frame);
	return flags;
}

/* Ethernet, tags and a packet of IP around the payload. Returns the length. */
static uint32_t ip_frame(uint8_t *frame, uint32_t tags, int ipv6, uint8_t protocol, const uint8_t *payload, uint32_t length)
{
	uint8_t *at = frame + 12;

	memset(frame, 2, 12);
	for (uint32_t i = 0; i < tags; i++, at += 4) {
		sp_nic_put16(at, 0x8100);
		sp_nic_put16(at + 2, VLAN);
	}
	sp_nic_put16(at, ipv6 ? SP_NIC_TYPE_IPV6 : SP_NIC_TYPE_IPV4);
	at += 2;
	if (ipv6) {
		memset(at, 0, 8);
		at[0] = 0x60;
		sp_nic_put16(at + 4, (uint16_t)length);
		at[6] = protocol;
		memcpy(at + 8, ends[0], 16);
		memcpy(at + 24, ends[1], 16);
		at += SP_NIC_IPV6;
	} else {
		memset(at, 0, SP_NIC_IPV4);
		at[0] = 0x45;
		sp_nic_put16(at + 2, (uint16_t)(SP_NIC_IPV4 + length));
		at[9] = protocol;
		memcpy(at + 12, ends[0], 4);
		memcpy(at + 16, ends[1] + 12, 4);
		sp_nic_ipv4_checksum(at);
		at += SP_NIC_IPV4;
	}
	memcpy(at, payload, length);
	return (uint32_t)(at - frame) + length;
}

/* ESP as a program hands it to inline crypto. Returns the length. */
static uint32_t esp_of(uint32_t index, uint8_t *esp, const uint8_t *payload, uint32_t length)
{
	const struct sp_nic_session *s = (const struct sp_nic_session *)(const void *)pairs[index].out->driver_priv_data;
	const uint32_t block = s->cipher.block, padding = (block - (length + 2) % block) % block;
	uint8_t *at = esp + SP_NIC_ESP_HEADER + s->cipher.iv_length;
	const uint64_t number_be = rte_cpu_to_be_64(++numbers[index]);

	memcpy(esp, &s->spi_be, 4);
	memcpy(esp + 4, (const uint8_t *)&number_be + 4, 4);
	memset(esp + 8, 0, s->cipher.iv_length);
	memcpy(esp + 8, &number_be, 8);
	memcpy(at, payload, length);
	at += length;
	for (uint32_t i = 0; i < padding; i++)
		*at++ = (uint8_t)(i + 1);
	*at++ = (uint8_t)padding;
	*at++ = SP_NIC_PROTOCOL_IPV4;
	memset(at, 0, s->cipher.icv_length);
	return (uint32_t)(at - esp) + s->cipher.icv_length;
}

/* What a program hands over for the pair. */
static uint32_t handed_over(uint32_t index, uint8_t *frame, uint32_t tags, const uint8_t *payload, uint32_t length)
{
	static uint8_t esp[FRAME_MAX];
	const struct pair *p = &pairs[index];
	uint32_t whole, in_front = p->udp ? SP_NIC_UDP : 0;

	if (p->protocol)
		return ip_frame(frame, tags, p->transport ? p->ipv6 : length & 1, SP_NIC_PROTOCOL_UDP, payload, length);
	whole = in_front + esp_of(index, esp + in_front, payload, length);
	if (p->udp) {
		sp_nic_put16(esp, SP_NIC_PORT_NATT);
		sp_nic_put16(esp + 2, SP_NIC_PORT_NATT);
		sp_nic_put16(esp + 4, (uint16_t)whole);
		sp_nic_put16(esp + 6, 0);
	}
	return ip_frame(frame, tags, p->ipv6, p->udp ? SP_NIC_PROTOCOL_UDP : SP_NIC_PROTOCOL_ESP, esp, whole);
}

/* Out, perhaps damaged, and in again: what was not damaged comes as it was handed over. */
static void round_trip(struct input *in, uint32_t index)
{
	static uint8_t frame[FRAME_MAX], before[FRAME_MAX];
	const struct pair *p = &pairs[index];
	uint32_t tags = take(in, 1) % 3, damage = take(in, 1) % 4, front = take(in, 1), back = take(in, 1) & 63;
	uint8_t payload[512] = {0};
	uint32_t length = (uint32_t)RTE_MIN(in->left, sizeof(payload)), whole;
	uint64_t flags;

	memcpy(payload, in->at, length);
	whole = handed_over(index, frame, tags, payload, length);
	memcpy(before, frame, whole);
	length = whole;
	if (!send_frame(p, frame, &length, front, back)) {
		CHECK(p->protocol && length == whole && memcmp(frame, before, whole) == 0); /* for want of room; as it was */
		return;
	}
	for (uint32_t i = 0; i < damage; i++)
		frame[take(in, 2) % length] ^= (uint8_t)take(in, 1);
	flags = receive_frame(frame, &length);
	if (damage != 0)
		return;
	if (p->vlan && tags != 1) {
		CHECK(flags == 0);
		return;
	}
	CHECK(flags == RTE_MBUF_F_RX_SEC_OFFLOAD);
	if (p->protocol)
		CHECK(length == whole && memcmp(frame, before, whole) == 0);
}

static void raw(struct input *in, uint32_t index, int send)
{
	static uint8_t frame[FRAME_MAX];
	uint32_t front = send ? take(in, 1) : 0, back = send ? take(in, 1) : 0, length = (uint32_t)RTE_MIN(in->left, (size_t)1500);

	memcpy(frame, in->at, length);
	if (send)
		(void)send_frame(&pairs[index], frame, &length, front, back);
	else
		(void)receive_frame(frame, &length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint32_t how = take(&in, 1), index = take(&in, 1) % n_pairs;

	if (how % 4 == 0)
		raw(&in, index, how & 4);
	else
		round_trip(&in, index);
	CHECK(rte_mempool_in_use_count(mbufs) == 0);
	return 0;
}
