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
static FILE *alert_stream;
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
	int level = rte_log_cur_msg_loglevel();

	if (send_record(level > 0 ? (uint32_t)level : RTE_LOG_NOTICE, text, length, MSG_DONTWAIT) != 0)
		__atomic_add_fetch(&log_lost, 1, __ATOMIC_RELAXED);
	return (ssize_t)length;
}

static ssize_t
write_alert(void *cookie, const char *text, size_t length)
{
	if (send_record(RTE_LOG_ALERT, text, length, MSG_DONTWAIT) != 0)
		__atomic_add_fetch(&log_lost, 1, __ATOMIC_RELAXED);
	return (ssize_t)length;
}

int
sp_log_open(int fd)
{
	static const cookie_io_functions_t log_functions = {.write = write_log};
	static const cookie_io_functions_t alert_functions = {.write = write_alert};
	FILE *log_stream = fopencookie(NULL, "w", log_functions);

	alert_stream = fopencookie(NULL, "w", alert_functions);
	if (log_stream == NULL || alert_stream == NULL)
		return -ENOMEM;
	// rte_vlog flushes after each message; alerts come by plain fprintf.
	setvbuf(alert_stream, NULL, _IOLBF, BUFSIZ);
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
	stderr = alert_stream;
}

void
sp_log_give_stderr(void)
{
	fflush(alert_stream);
	stderr = process_stderr;
}
