// DPDK's log lines as records on a socket. No callback into Go: a DPDK thread never waits for the Go scheduler.
#ifndef SALLYPORT_PMD_EAL_LOG_H
#define SALLYPORT_PMD_EAL_LOG_H

#include <stdint.h>

// What stands before the text of each record. level is an RTE_LOG_ level, or SP_LOG_MARK for a mark that only says "everything
// before this has been read"; lost counts the records that found the socket full since the process started.
struct sp_log_header {
	uint32_t level;
	uint32_t lost;
};

enum { SP_LOG_MARK = 0 };

// Sends all DPDK log lines to the socket fd from now on. 0 or -errno.
int sp_log_open(int fd);

// Ends the records and closes the socket; later lines are lost. For after rte_eal_cleanup, when no DPDK thread logs any more.
void sp_log_close(void);

// Sends a mark, waiting for room if need be. 0 or -errno.
int sp_log_mark(void);

// What C code prints to stderr, such as the EAL's fatal messages and libbpf's, becomes records between these two calls.
void sp_log_take_stderr(void);
void sp_log_give_stderr(void);

#endif
