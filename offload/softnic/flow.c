/* Rules of rte_flow: ESP to a destination with an SPI belongs to a session. */
#include "nic.h"

#include <errno.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_malloc.h>

static int refuse(struct rte_flow_error *error, int code, enum rte_flow_error_type type, const void *cause, const char *message)
{
	return rte_flow_error_set(error, code, type, cause, message);
}

/* Takes an address of which the rule must say all. */
static int whole(const uint8_t *value, const uint8_t *mask, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++)
		if (mask[i] != 0xff)
			return 0;
	return value != NULL;
}

/* The VLAN of the only tag. Priority is not looked at, and what follows the tag is for the next item to say. */
static int read_vlan(const struct rte_flow_item *item, struct sp_nic_key *key)
{
	const struct rte_flow_item_vlan *spec = item->spec, *mask = item->mask != NULL ? item->mask : &rte_flow_item_vlan_mask;

	if (spec == NULL || key->vlan != 0 || (mask->hdr.vlan_tci & RTE_BE16(SP_NIC_VLAN_MASK)) != RTE_BE16(SP_NIC_VLAN_MASK))
		return -1;
	key->vlan = SP_NIC_TAGGED | (rte_be_to_cpu_16(spec->hdr.vlan_tci) & SP_NIC_VLAN_MASK);
	return 0;
}

static int read_ipv4(const struct rte_flow_item *item, struct sp_nic_key *key)
{
	const struct rte_flow_item_ipv4 *spec = item->spec, *mask = item->mask != NULL ? item->mask : &rte_flow_item_ipv4_mask;

	if (spec == NULL || !whole((const uint8_t *)&spec->hdr.dst_addr, (const uint8_t *)&mask->hdr.dst_addr, 4))
		return -1;
	memset(key->destination, 0, 10);
	memset(key->destination + 10, 0xff, 2);
	memcpy(key->destination + 12, &spec->hdr.dst_addr, 4);
	return 0;
}

static int read_ipv6(const struct rte_flow_item *item, struct sp_nic_key *key)
{
	const struct rte_flow_item_ipv6 *spec = item->spec, *mask = item->mask != NULL ? item->mask : &rte_flow_item_ipv6_mask;

	if (spec == NULL || !whole(spec->hdr.dst_addr, mask->hdr.dst_addr, 16))
		return -1;
	memcpy(key->destination, spec->hdr.dst_addr, 16);
	return 0;
}

static int read_esp(const struct rte_flow_item *item, struct sp_nic_key *key)
{
	const struct rte_flow_item_esp *spec = item->spec, *mask = item->mask != NULL ? item->mask : &rte_flow_item_esp_mask;

	if (spec == NULL || mask->hdr.spi != RTE_BE32(0xffffffff))
		return -1;
	key->spi_be = spec->hdr.spi;
	return 0;
}

/*
 * Of Ethernet and UDP a rule may say that they are there. Without a VLAN it is of all frames, tagged and not, as rte_flow has it. The source is not looked at: an SA is its
 * destination and its SPI.
 */
static int read_pattern(const struct sp_nic *nic, const struct rte_flow_item *item, struct sp_nic_key *key, struct rte_flow_error *error)
{
	int ip = 0, esp = 0, wrong = 0;

	for (; item->type != RTE_FLOW_ITEM_TYPE_END && !wrong; item++) {
		switch (item->type) {
		case RTE_FLOW_ITEM_TYPE_VOID:
		case RTE_FLOW_ITEM_TYPE_ETH:
			wrong = ip || key->vlan != 0;
			break;
		case RTE_FLOW_ITEM_TYPE_VLAN:
			if (nic->no_vlan)
				return refuse(error, ENOTSUP, RTE_FLOW_ERROR_TYPE_ITEM, item, "VLANs are not matched");
			wrong = ip || read_vlan(item, key) != 0;
			break;
		case RTE_FLOW_ITEM_TYPE_IPV4:
			wrong = ip++ != 0 || read_ipv4(item, key) != 0;
			break;
		case RTE_FLOW_ITEM_TYPE_IPV6:
			wrong = ip++ != 0 || read_ipv6(item, key) != 0;
			break;
		case RTE_FLOW_ITEM_TYPE_UDP:
			wrong = !ip || esp;
			break;
		case RTE_FLOW_ITEM_TYPE_ESP:
			wrong = !ip || esp++ != 0 || read_esp(item, key) != 0;
			break;
		default:
			wrong = 1;
		}
	}
	if (wrong || !esp)
		return refuse(error, ENOTSUP, RTE_FLOW_ERROR_TYPE_ITEM, wrong ? item - 1 : item, "expected eth, vlan with VID, ipv4 or ipv6 with destination, udp, esp with SPI");
	return 0;
}

/* The session that the actions lead to, NULL if there is not exactly that. */
static void *read_actions(const struct rte_flow_action *action, struct rte_flow_error *error)
{
	void *session = NULL;

	for (; action->type != RTE_FLOW_ACTION_TYPE_END; action++) {
		if (action->type == RTE_FLOW_ACTION_TYPE_VOID)
			continue;
		if (action->type != RTE_FLOW_ACTION_TYPE_SECURITY || session != NULL || action->conf == NULL) {
			(void)refuse(error, ENOTSUP, RTE_FLOW_ERROR_TYPE_ACTION, action, "expected the action security, once");
			return NULL;
		}
		session = ((const struct rte_flow_action_security *)action->conf)->security_session;
	}
	if (session == NULL)
		(void)refuse(error, EINVAL, RTE_FLOW_ERROR_TYPE_ACTION, action, "no session");
	return session;
}

/* The session of a rule that can be, else NULL. */
static struct sp_nic_session *read_rule(const struct sp_nic *nic, const struct rte_flow_attr *attributes, const struct rte_flow_item *pattern,
					const struct rte_flow_action *actions, struct sp_nic_key *key, struct rte_flow_error *error)
{
	struct rte_security_session *handle;
	struct sp_nic_session *session;

	memset(key, 0, sizeof(*key));
	if (nic->fault.vanished) {
		(void)refuse(error, ENODEV, RTE_FLOW_ERROR_TYPE_UNSPECIFIED, NULL, "the device is gone");
		return NULL;
	}
	if (attributes == NULL || pattern == NULL || actions == NULL || !attributes->ingress || attributes->egress || attributes->transfer) {
		(void)refuse(error, ENOTSUP, RTE_FLOW_ERROR_TYPE_ATTR, attributes, "rules are for what is received");
		return NULL;
	}
	if (read_pattern(nic, pattern, key, error) != 0)
		return NULL;
	handle = read_actions(actions, error);
	if (handle == NULL)
		return NULL;
	session = (struct sp_nic_session *)(void *)handle->driver_priv_data;
	if (session->slot != 0 && !session->egress && session->spi_be == key->spi_be)
		return session;
	(void)refuse(error, EINVAL, RTE_FLOW_ERROR_TYPE_ACTION_CONF, handle, "the session is not an inbound one of this SPI");
	return NULL;
}

int sp_nic_flow_validate(struct sp_nic *nic, const struct rte_flow_attr *attributes, const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
			 struct rte_flow_error *error)
{
	struct sp_nic_key key;

	return read_rule(nic, attributes, pattern, actions, &key, error) != NULL ? 0 : -rte_errno;
}

struct rte_flow *sp_nic_flow_create(struct sp_nic *nic, const struct rte_flow_attr *attributes, const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
				    struct rte_flow_error *error)
{
	struct sp_nic_key key;
	struct sp_nic_session *session = read_rule(nic, attributes, pattern, actions, &key, error);
	struct rte_flow *flow;
	int result;

	if (session == NULL)
		return NULL;
	flow = rte_zmalloc(NULL, sizeof(*flow), 0);
	if (flow == NULL) {
		(void)refuse(error, ENOMEM, RTE_FLOW_ERROR_TYPE_HANDLE, NULL, "no memory");
		return NULL;
	}
	flow->key = key;
	flow->session = session;
	rte_rwlock_write_lock(&nic->lock);
	result = rte_hash_lookup(nic->rules, &key) >= 0 ? -EEXIST : rte_hash_add_key_data(nic->rules, &key, flow);
	if (result == 0) {
		flow->next = nic->first;
		if (flow->next != NULL)
			flow->next->previous = flow;
		nic->first = flow;
		nic->flows++;
		flow->sibling = session->rules;
		session->rules = flow;
	}
	rte_rwlock_write_unlock(&nic->lock);
	if (result != 0) {
		rte_free(flow);
		(void)refuse(error, -result, RTE_FLOW_ERROR_TYPE_HANDLE, NULL, result == -EEXIST ? "there is a rule of this VLAN, destination and SPI" : "no room");
		return NULL;
	}
	return flow;
}

/* The lock is held, or nobody else is there any more. */
static void drop(struct sp_nic *nic, struct rte_flow *flow)
{
	(void)rte_hash_del_key(nic->rules, &flow->key);
	if (flow->previous != NULL)
		flow->previous->next = flow->next;
	else
		nic->first = flow->next;
	if (flow->next != NULL)
		flow->next->previous = flow->previous;
	for (struct rte_flow **at = flow->session != NULL ? &flow->session->rules : NULL; at != NULL; at = &(*at)->sibling) {
		if (*at == flow) {
			*at = flow->sibling;
			break;
		}
	}
	nic->flows--;
	rte_free(flow);
}

int sp_nic_flow_destroy(struct sp_nic *nic, struct rte_flow *flow, struct rte_flow_error *error)
{
	struct rte_flow *known;

	if (nic->fault.vanished)
		return refuse(error, ENODEV, RTE_FLOW_ERROR_TYPE_UNSPECIFIED, NULL, "the device is gone");
	rte_rwlock_write_lock(&nic->lock);
	for (known = nic->first; known != NULL && known != flow;) /* what is no rule of ours, or none any more, must not be read */
		known = known->next;
	if (known != NULL)
		drop(nic, known);
	rte_rwlock_write_unlock(&nic->lock);
	if (known == NULL)
		return refuse(error, ENOENT, RTE_FLOW_ERROR_TYPE_HANDLE, flow, "no such rule");
	return 0;
}

void sp_nic_drop_rules(struct sp_nic *nic)
{
	while (nic->first != NULL)
		drop(nic, nic->first);
}

int sp_nic_flow_flush(struct sp_nic *nic, struct rte_flow_error *error)
{
	if (nic->fault.vanished)
		return refuse(error, ENODEV, RTE_FLOW_ERROR_TYPE_UNSPECIFIED, NULL, "the device is gone");
	rte_rwlock_write_lock(&nic->lock);
	sp_nic_drop_rules(nic);
	rte_rwlock_write_unlock(&nic->lock);
	return 0;
}
