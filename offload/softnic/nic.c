#include "nic.h"

#include <errno.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_jhash.h>
#include <rte_malloc.h>
#include <rte_mbuf_dyn.h>

#define CLOCK_READINGS 1000

static struct sp_nic *nics[RTE_MAX_ETHPORTS];

struct sp_nic *sp_nic_of(uint16_t port)
{
	return port < RTE_MAX_ETHPORTS ? nics[port] : NULL;
}

/* The field in which drivers and their users pass metadata. Drivers register it by a function that is not for others; this is what that function does. */
static int register_metadata(void)
{
	static const struct rte_mbuf_dynfield field = {
		.name = "rte_security_dynfield_metadata",
		.size = sizeof(rte_security_dynfield_t),
		.align = __alignof__(rte_security_dynfield_t),
	};
	int offset = rte_mbuf_dynfield_register(&field);

	if (offset < 0)
		return -rte_errno;
	rte_security_dynfield_offset = offset;
	return 0;
}

/* The least of many: none was interrupted. */
static uint64_t cost_of_clock(void)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < CLOCK_READINGS; i++) {
		const uint64_t start = sp_nic_clock();

		least = RTE_MIN(least, sp_nic_clock() - start);
	}
	return least;
}

static int make_tables(struct sp_nic *nic)
{
	char name[RTE_HASH_NAMESIZE];
	struct rte_hash_parameters parameters = {
		.name = name,
		.entries = RTE_MAX(nic->capacity, 8u),
		.key_len = sizeof(struct sp_nic_key),
		.hash_func = rte_jhash,
		.socket_id = SOCKET_ID_ANY,
		.extra_flag = RTE_HASH_EXTRA_FLAGS_EXT_TABLE, /* else it refuses before it is full */
	};

	snprintf(name, sizeof(name), "softnic_%u", nic->port);
	nic->rules = rte_hash_create(&parameters);
	nic->slots = rte_zmalloc(NULL, nic->capacity * sizeof(*nic->slots), 0);
	if (nic->rules == NULL || nic->slots == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < nic->capacity; i++)
		nic->slots[i].free = nic->capacity - i; /* the first place is the first to go */
	return 0;
}

static int make_queue(struct sp_nic *nic, struct sp_nic_queue *q)
{
	q->nic = nic;
	q->library = alloc_mb_mgr(0);
	if (q->library == NULL)
		return -ENOMEM;
	init_mb_mgr_auto(q->library, NULL);
	return imb_get_errno(q->library) == 0 ? 0 : -ENOTSUP;
}

static int make_queues(struct sp_nic *nic)
{
	int result = 0;

	for (uint16_t i = 0; i < nic->queues && result == 0; i++) {
		result = make_queue(nic, &nic->rx[i]);
		if (result == 0)
			result = make_queue(nic, &nic->tx[i]);
	}
	for (uint16_t i = 0; i < nic->queues && result == 0; i++) {
		nic->rx[i].callback = rte_eth_add_rx_callback(nic->port, i, sp_nic_receive, &nic->rx[i]);
		nic->tx[i].callback = rte_eth_add_tx_callback(nic->port, i, sp_nic_transmit, &nic->tx[i]);
		if (nic->rx[i].callback == NULL || nic->tx[i].callback == NULL)
			result = -rte_errno;
	}
	return result;
}

/* The port is stopped, so nobody is in a callback, and its memory can go at once. */
static int unmake(struct sp_nic *nic)
{
	int result = 0;

	for (uint16_t i = 0; i < nic->queues && result == 0; i++) {
		if (nic->rx[i].callback != NULL)
			result = rte_eth_remove_rx_callback(nic->port, i, nic->rx[i].callback);
		if (result == 0 && nic->tx[i].callback != NULL)
			result = rte_eth_remove_tx_callback(nic->port, i, nic->tx[i].callback);
		if (result != 0)
			return result;
		rte_free((void *)(uintptr_t)nic->rx[i].callback);
		rte_free((void *)(uintptr_t)nic->tx[i].callback);
		nic->rx[i].callback = NULL;
		nic->tx[i].callback = NULL;
	}
	for (uint16_t i = 0; i < nic->queues; i++) {
		free_mb_mgr(nic->rx[i].library);
		free_mb_mgr(nic->tx[i].library);
	}
	sp_nic_drop_rules(nic);
	rte_hash_free(nic->rules);
	rte_free(nic->slots);
	rte_free(nic);
	return 0;
}

int sp_nic_attach(uint16_t port, uint16_t queues, const struct sp_nic_options *options)
{
	struct sp_nic *nic;
	int result;

	if (!rte_eth_dev_is_valid_port(port))
		return -ENODEV;
	if (nics[port] != NULL)
		return -EEXIST;
	if (queues == 0 || queues > SP_NIC_QUEUES_MAX || options->sessions == 0)
		return -EINVAL;
	result = register_metadata();
	if (result != 0)
		return result;
	nic = rte_zmalloc(NULL, sizeof(*nic), RTE_CACHE_LINE_SIZE);
	if (nic == NULL)
		return -ENOMEM;
	nic->port = port;
	nic->queues = queues;
	nic->suites = options->suites;
	nic->no_vlan = options->no_vlan;
	nic->capacity = options->sessions;
	nic->clock = cost_of_clock();
	nic->context = (struct rte_security_ctx){.device = nic, .ops = &sp_nic_security_ops, .flags = RTE_SEC_CTX_F_FAST_SET_MDATA};
	rte_rwlock_init(&nic->lock);
	sp_nic_describe(nic, options);
	result = make_tables(nic);
	if (result == 0)
		result = make_queues(nic);
	if (result != 0) {
		(void)unmake(nic);
		return result;
	}
	nics[port] = nic;
	return 0;
}

int sp_nic_detach(uint16_t port)
{
	struct sp_nic *nic = sp_nic_of(port);
	int result;

	if (nic == NULL)
		return -ENODEV;
	if (nic->live != 0)
		return -EBUSY;
	result = unmake(nic);
	if (result == 0)
		nics[port] = NULL;
	return result;
}

void sp_nic_inject(uint16_t port, const struct sp_nic_fault *fault)
{
	struct sp_nic *nic = sp_nic_of(port);

	if (nic == NULL)
		return;
	rte_rwlock_write_lock(&nic->lock);
	nic->fault = *fault;
	nic->created = 0;
	rte_rwlock_write_unlock(&nic->lock);
}

static void add(struct sp_nic_counters *sum, const struct sp_nic_counters *part)
{
	const uint64_t *from = (const uint64_t *)part;
	uint64_t *to = (uint64_t *)sum;

	for (unsigned int i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

void sp_nic_report(uint16_t port, struct sp_nic_report *report)
{
	struct sp_nic *nic = sp_nic_of(port);

	memset(report, 0, sizeof(*report));
	if (nic == NULL)
		return;
	rte_rwlock_read_lock(&nic->lock);
	report->made = nic->made;
	report->refused = nic->refused;
	report->live = nic->live;
	report->flows = nic->flows;
	for (uint16_t i = 0; i < nic->queues; i++) {
		add(&report->packets, &nic->rx[i].counters);
		add(&report->packets, &nic->tx[i].counters);
	}
	rte_rwlock_read_unlock(&nic->lock);
}
