/* ESP packets through a crypto session, laid out as the fast path lays them out. */
#ifndef SALLYPORT_DEVICETEST_RUN_H
#define SALLYPORT_DEVICETEST_RUN_H

#include <stdint.h>

#include <rte_mempool.h>

#define DT_BURST 32
#define DT_MAX_PACKET 10000
#define DT_AAD_MAX 12
#define DT_SALT_LEN 4
#define DT_ICV_MAX 16

struct dt_pools {
	struct rte_mempool *mbufs;
	struct rte_mempool *operations;
};

struct dt_session {
	void *handle;
	void *gcm; /* function of a session without a device, else NULL */
	uint8_t device;
	uint8_t cpu;
	uint8_t aead;
	uint8_t encrypt;
	uint8_t esn;
	uint16_t queue_pair;
	uint16_t iv_offset; /* in an operation */
	uint16_t iv_length; /* in the packet */
	uint16_t icv_length;
	uint8_t salt[DT_SALT_LEN];
};

/* One packet from SPI to ICV, in place. */
struct dt_packet {
	uint32_t offset; /* in the buffer */
	uint32_t length;
	uint32_t seq_high;
	int32_t ok; /* result */
};

int dt_pools_create(struct dt_pools *pools, const char *mbufs, const char *operations, uint16_t private_size);

/* Runs count packets of the buffer, DT_BURST at most. Returns 0, or a negative errno when
 * the device did not take or did not give back all of them. */
int dt_run(const struct dt_pools *pools, const struct dt_session *session, uint8_t *buffer, struct dt_packet *packets,
	   uint32_t count);

#endif
