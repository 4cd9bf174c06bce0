#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <rte_log.h>

static int log_fd = -1;
static uint32_t log_lost;
static FILE *print_stream;
static FILE *process_stderr;

static int
send_record(uint32_t level, const char *text, size_t length, int flags)
{
	struct sp_log_header header = {.level = level, .lost = __atomic_load_n(&log_lost, __ATOMIC_RELAXED)};
	struct iovec parts[] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = (void *)(uintptr_t)text, .iov_len = length},
	};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

	return sendmsg(log_fd, &message, flags | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

// A full socket loses the record and counts it: a thread that moves packets may be the one that logs, and must not wait.
static ssize_t
write_log(void *cookie, const char *text, size_t length)
{
	uint32_t level = (uint32_t)rte_log_cur_msg_loglevel();

	// rte_panic aborts after this line: nobody would read the record.
	if (level <= RTE_LOG_CRIT && write(STDERR_FILENO, text, length) < 0)
		return -1;
	if (send_record(level, text, length, MSG_DONTWAIT) != 0)
		__atomic_add_fetch(&log_lost, 1, __ATOMIC_RELAXED);
	return (ssize_t)length;
}

static ssize_t
write_print(void *cookie, const char *text, size_t length)
{
	if (send_record(RTE_LOG_WARNING, text, length, MSG_DONTWAIT) != 0)
		__atomic_add_fetch(&log_lost, 1, __ATOMIC_RELAXED);
	return (ssize_t)length;
}

int
sp_log_open(int fd)
{
	static const cookie_io_functions_t log_functions = {.write = write_log};
	static const cookie_io_functions_t print_functions = {.write = write_print};
	FILE *log_stream = fopencookie(NULL, "w", log_functions);

	print_stream = fopencookie(NULL, "w", print_functions);
	if (log_stream == NULL || print_stream == NULL)
		return -ENOMEM;
	// rte_vlog flushes after each message; prints come by plain fprintf.
	setvbuf(print_stream, NULL, _IOLBF, BUFSIZ);
	log_fd = fd;
	rte_openlog_stream(log_stream);
	return 0;
}

void
sp_log_close(void)
{
	int fd = log_fd;

	log_fd = -1;
	close(fd);
}

int
sp_log_mark(void)
{
	return send_record(SP_LOG_MARK, "", 0, 0);
}

void
sp_log_take_stderr(void)
{
	process_stderr = stderr;
	stderr = print_stream;
}

void
sp_log_give_stderr(void)
{
	fflush(print_stream);
	stderr = process_stderr;
}
