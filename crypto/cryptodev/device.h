/* Start and stop of one crypto device. All functions return 0 or a negative errno. */
#ifndef SALLYPORT_CRYPTODEV_DEVICE_H
#define SALLYPORT_CRYPTODEV_DEVICE_H

#include <stdint.h>

#include <rte_mempool.h>

struct spcrypto_device {
	const char *driver; /* owned by DPDK */
	uint32_t session_size;
	uint16_t max_queue_pairs;
	uint8_t cpu;      /* offers rte_cryptodev_sym_cpu_crypto_process */
	uint8_t hardware; /* of its own */
	uint8_t chaining; /* offers cipher and auth in one operation */
};

int spcrypto_eal_running(void);

/* Whether a name is a PCI address. */
int spcrypto_is_pci(const char *name);

/* The number of the crypto device of that name; or of the symmetric one that a driver has made of the device that has the name, a PCI address perhaps, and named as it likes. */
int spcrypto_find(const char *name);

/* Reads what the device is and gives it its number of queue pairs. The session size
 * depends on that number with some drivers, so it is read afterwards. */
int spcrypto_configure(uint8_t id, uint16_t queue_pairs, int socket, struct spcrypto_device *out);

int spcrypto_start(uint8_t id, uint16_t queue_pairs, uint32_t descriptors, int socket, struct rte_mempool *sessions);

/* Stops and closes a device that has been started. Of one that is ours, and going to be removed, queue pairs are released. */
int spcrypto_close(uint8_t id, int socket, int ours);

/* The ring of the one queue pair that is left of a software device of that number, which is removed. */
void spcrypto_forget_ring(uint8_t id);

struct rte_mempool *spcrypto_session_pool(const char *name, uint32_t count, uint32_t session_size, int socket, int *error);

#endif
