/* Two more functions of DPDK that this program defines itself; see ../interpose.c. */
#include <dlfcn.h>
#include <rte_debug.h>
#include <rte_ethdev.h>

/* In Go: 0, or -errno when the port is not to start or to close. */
int sp_nic_starting(uint16_t port);
int sp_nic_closing(uint16_t port);

static int library(const char *name, uint16_t port)
{
	int (*function)(uint16_t) = (int (*)(uint16_t))dlsym(RTLD_NEXT, name);

	if (function == NULL)
		rte_panic("%s is in no library\n", name);
	return function(port);
}

int rte_eth_dev_start(uint16_t port)
{
	int result = sp_nic_starting(port);

	return result != 0 ? result : library("rte_eth_dev_start", port);
}

int rte_eth_dev_close(uint16_t port)
{
	int result = sp_nic_closing(port);

	return result != 0 ? result : library("rte_eth_dev_close", port);
}
