#include "library.h"

#include <string.h>

#include <rte_errno.h>

#include "gcm.h"
#include "job.h"

_Static_assert(RTE_CACHE_LINE_SIZE % 64 == 0, "a mempool's elements are aligned as the library wants expanded keys");

/* What an element of the pool holds. */
union element {
	struct spcrypto_gcm gcm;
	struct spcrypto_job job;
};

static const char *unusable(const IMB_MGR *manager, int error)
{
	if (error != 0)
		return imb_get_strerror(error);
	if ((manager->features & IMB_FEATURE_SELF_TEST) == 0)
		return "this libIPSec_MB does not test itself";
	if ((manager->features & IMB_FEATURE_SELF_TEST_PASS) == 0)
		return "libIPSec_MB failed its self-test";
	return NULL;
}

IMB_MGR *spcrypto_library(const char **why)
{
	IMB_MGR *manager = alloc_mb_mgr(0);

	if (manager == NULL) {
		*why = "no memory for libIPSec_MB's manager";
		return NULL;
	}
	init_mb_mgr_auto(manager, NULL);
	*why = unusable(manager, imb_get_errno(manager));
	if (*why == NULL)
		return manager;
	free_mb_mgr(manager);
	return NULL;
}

const char *spcrypto_gcm_missing(const IMB_MGR *library)
{
	if ((library->features & IMB_FEATURE_AESNI) == 0 || (library->features & IMB_FEATURE_PCLMULQDQ) == 0)
		return "the processor lacks AES-NI or PCLMULQDQ";
	return NULL;
}

struct rte_mempool *spcrypto_library_sessions(const char *name, uint32_t count, int socket, int *error)
{
	/* No per-lcore cache: sessions are made by control threads, which have none. */
	struct rte_mempool *sessions = rte_mempool_create(name, count, sizeof(union element), 0, 0, NULL, NULL, NULL, NULL, socket, 0);

	*error = sessions == NULL ? -rte_errno : 0;
	return sessions;
}

struct spcrypto_gcm *spcrypto_gcm_create(const IMB_MGR *library, const uint8_t *key, unsigned int key_length, int encrypt, int vectors, struct rte_mempool *sessions,
					 aes_gcm_enc_dec_t *function)
{
	void *element;

	if (rte_mempool_get(sessions, &element) != 0)
		return NULL;
	switch (key_length) {
	case IMB_KEY_128_BYTES:
		IMB_AES128_GCM_PRE(library, key, element);
		*function = encrypt ? library->gcm128_enc : library->gcm128_dec;
		break;
	case IMB_KEY_192_BYTES:
		IMB_AES192_GCM_PRE(library, key, element);
		*function = encrypt ? library->gcm192_enc : library->gcm192_dec;
		break;
	default:
		IMB_AES256_GCM_PRE(library, key, element);
		*function = encrypt ? library->gcm256_enc : library->gcm256_dec;
	}
	if (vectors)
		*function = spcrypto_gcm_function(key_length, encrypt);
	return element;
}

void spcrypto_library_free(void *session)
{
	explicit_bzero(session, sizeof(union element));
	rte_mempool_put(rte_mempool_from_obj(session), session);
}
