#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_cryptodev.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_pci.h>
#include <rte_ring.h>

int spcrypto_eal_running(void)
{
	return rte_lcore_count() > 0;
}

int spcrypto_is_pci(const char *name)
{
	struct rte_pci_addr address;

	return rte_pci_addr_parse(name, &address) == 0;
}

int spcrypto_find(const char *name)
{
	char full[PCI_PRI_STR_SIZE + 1];
	struct rte_pci_addr address;
	int id = rte_cryptodev_get_dev_id(name);

	if (id >= 0)
		return id;
	if (rte_pci_addr_parse(name, &address) == 0) {
		rte_pci_device_name(&address, full, sizeof(full));
		name = full;
	}
	for (id = 0; id < RTE_CRYPTO_MAX_DEVS; id++) {
		struct rte_cryptodev_info info;

		if (!rte_cryptodev_is_valid_dev((uint8_t)id))
			continue;
		rte_cryptodev_info_get((uint8_t)id, &info);
		if (info.device != NULL && strcmp(rte_dev_name(info.device), name) == 0 && (info.feature_flags & RTE_CRYPTODEV_FF_SYMMETRIC_CRYPTO) != 0)
			return id;
	}
	return -ENODEV;
}

int spcrypto_configure(uint8_t id, uint16_t queue_pairs, int socket, struct spcrypto_device *out)
{
	struct rte_cryptodev_config config;
	struct rte_cryptodev_info info;
	int ret;

	rte_cryptodev_info_get(id, &info);
	out->driver = info.driver_name;
	out->max_queue_pairs = RTE_MIN(info.max_nb_queue_pairs, (unsigned int)UINT16_MAX);
	out->cpu = (info.feature_flags & RTE_CRYPTODEV_FF_SYM_CPU_CRYPTO) != 0;
	out->hardware = (info.feature_flags & RTE_CRYPTODEV_FF_HW_ACCELERATED) != 0;
	out->chaining = (info.feature_flags & RTE_CRYPTODEV_FF_SYM_OPERATION_CHAINING) != 0;
	if (out->max_queue_pairs < queue_pairs)
		return -ENOSPC;

	memset(&config, 0, sizeof(config));
	config.socket_id = socket;
	config.nb_queue_pairs = queue_pairs;
	config.ff_disable = RTE_CRYPTODEV_FF_ASYMMETRIC_CRYPTO;
	ret = rte_cryptodev_configure(id, &config);
	if (ret < 0)
		return ret;
	out->session_size = rte_cryptodev_sym_get_private_session_size(id);
	return 0;
}

int spcrypto_start(uint8_t id, uint16_t queue_pairs, uint32_t descriptors, int socket, struct rte_mempool *sessions)
{
	struct rte_cryptodev_qp_conf config;
	uint16_t queue_pair;

	memset(&config, 0, sizeof(config));
	config.nb_descriptors = descriptors;
	config.mp_session = sessions;
	for (queue_pair = 0; queue_pair < queue_pairs; queue_pair++) {
		int ret = rte_cryptodev_queue_pair_setup(id, queue_pair, &config, socket);

		if (ret < 0)
			return ret;
	}
	return rte_cryptodev_start(id);
}

/* Rings that drivers make for what they have finished, by the number of the device and of the queue pair. */
static const char *const rings[] = {"openssl_pmd_%u_qp_%u", "null_crypto_pmd_%u_qp_%u"};

/*
 * Closing a software device, or removing it, leaves its queue pairs in memory (22.11), and the next device of its number finds a ring there, which may be too short. The driver releases
 * those that are too many when it is configured for fewer. One is the fewest.
 */
static int release_queue_pairs(uint8_t id, int socket)
{
	struct rte_cryptodev_config config;

	if (rte_cryptodev_queue_pair_count(id) <= 1)
		return 0;
	memset(&config, 0, sizeof(config));
	config.socket_id = socket;
	config.nb_queue_pairs = 1;
	config.ff_disable = RTE_CRYPTODEV_FF_ASYMMETRIC_CRYPTO;
	return rte_cryptodev_configure(id, &config);
}

void spcrypto_forget_ring(uint8_t id)
{
	char name[RTE_RING_NAMESIZE];

	for (unsigned int i = 0; i < RTE_DIM(rings); i++) {
		(void)snprintf(name, sizeof(name), rings[i], id, 0u);
		rte_ring_free(rte_ring_lookup(name));
	}
}

int spcrypto_close(uint8_t id, int socket, int ours)
{
	int ret;

	rte_cryptodev_stop(id);
	ret = ours ? release_queue_pairs(id, socket) : 0;
	return ret == 0 ? rte_cryptodev_close(id) : ret;
}

struct rte_mempool *spcrypto_session_pool(const char *name, uint32_t count, uint32_t session_size, int socket, int *error)
{
	/* No per-lcore cache: sessions are made by control threads, which have none. */
	struct rte_mempool *pool = rte_cryptodev_sym_session_pool_create(name, count, session_size, 0, 0, socket);

	*error = pool == NULL ? -rte_errno : 0;
	return pool;
}
