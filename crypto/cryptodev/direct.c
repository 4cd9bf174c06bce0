#include "direct.h"

#include <string.h>

#include <rte_errno.h>

_Static_assert(RTE_CACHE_LINE_SIZE % 64 == 0, "a mempool's elements are aligned as the library wants expanded keys");

static const char *unusable(IMB_MGR *manager)
{
	init_mb_mgr_auto(manager, NULL);
	if (imb_get_errno(manager) != 0)
		return imb_get_strerror(imb_get_errno(manager));
	if ((manager->features & IMB_FEATURE_AESNI) == 0 || (manager->features & IMB_FEATURE_PCLMULQDQ) == 0)
		return "the processor lacks AES-NI or PCLMULQDQ";
	if ((manager->features & IMB_FEATURE_SELF_TEST) == 0)
		return "this libIPSec_MB does not test itself";
	if ((manager->features & IMB_FEATURE_SELF_TEST_PASS) == 0)
		return "libIPSec_MB failed its self-test";
	return NULL;
}

const char *spcrypto_gcm_choose(struct spcrypto_gcm *gcm)
{
	IMB_MGR *manager = alloc_mb_mgr(0);
	const char *why;

	if (manager == NULL)
		return "no memory for libIPSec_MB's manager";
	why = unusable(manager);
	/* the functions need no manager: it goes once it has chosen them */
	*gcm = (struct spcrypto_gcm){
		.expand = {manager->gcm128_pre, manager->gcm192_pre, manager->gcm256_pre},
		.encrypt = {manager->gcm128_enc, manager->gcm192_enc, manager->gcm256_enc},
		.decrypt = {manager->gcm128_dec, manager->gcm192_dec, manager->gcm256_dec},
	};
	free_mb_mgr(manager);
	return why;
}

struct rte_mempool *spcrypto_gcm_keys(const char *name, uint32_t count, int socket, int *error)
{
	/* No per-lcore cache: keys are made by control threads, which have none. */
	struct rte_mempool *keys = rte_mempool_create(name, count, sizeof(struct gcm_key_data), 0, 0, NULL, NULL, NULL, NULL, socket, 0);

	*error = keys == NULL ? -rte_errno : 0;
	return keys;
}

struct gcm_key_data *spcrypto_gcm_key_create(const struct spcrypto_gcm *gcm, unsigned int size, const uint8_t *key, struct rte_mempool *keys)
{
	void *expanded;

	if (rte_mempool_get(keys, &expanded) != 0)
		return NULL;
	gcm->expand[size](key, expanded);
	return expanded;
}

void spcrypto_gcm_key_free(struct gcm_key_data *key)
{
	explicit_bzero(key, sizeof(*key));
	rte_mempool_put(rte_mempool_from_obj(key), key);
}
