/* Preloaded into User-mode Linux, whose kernels before 6.14 exchange the floating-point state of
 * their processes with the host in a buffer that ends behind the AVX registers. A host with more
 * state than that (AVX-512, protection keys, AMX) refuses such a short buffer, and the guest dies
 * on its first process. This layer keeps the full state beside each of the guest kernel's buffers,
 * shows it the part that fits and puts that part back into the whole.
 *
 * State layout: Intel SDM volume 1, section 13.4. */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	STATE_MAX = 16384,    /* octets, above any processor's XSAVE area */
	LEGACY_REGISTERS = 464, /* x87 and SSE; what follows up to 512 belongs to software */
	HEADER = 512,         /* begins with the bitmap of components in use */
	EXTENDED = 576,       /* AVX and everything after it */
	BUCKETS = 256
};
#define GUEST_COMPONENTS UINT64_C(7) /* x87, SSE, AVX */

/* The full state that belongs to one buffer of the guest kernel. */
struct saved {
	struct saved *next;
	const void *buffer;
	size_t size;
	uint8_t state[STATE_MAX];
};

static struct saved *table[BUCKETS];

static long host_ptrace(long request, long pid, uintptr_t address, void *data)
{
	return syscall(SYS_ptrace, request, pid, address, data);
}

/* find returns the entry of a buffer, made when there is none; NULL without memory. */
static struct saved *find(const void *buffer)
{
	struct saved **head = &table[((uintptr_t)buffer >> 6) % BUCKETS];
	struct saved *entry;

	for (entry = *head; entry != NULL; entry = entry->next)
		if (entry->buffer == buffer)
			return entry;
	entry = calloc(1, sizeof(*entry));
	if (entry != NULL) {
		entry->buffer = buffer;
		entry->next = *head;
		*head = entry;
	}
	return entry;
}

/* refresh fills an entry with the process's state as the host has it. */
static long refresh(struct saved *entry, long pid)
{
	struct iovec whole = {.iov_base = entry->state, .iov_len = STATE_MAX};
	long result = host_ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole);

	entry->size = result < 0 ? 0 : whole.iov_len;
	return result;
}

static long get_state(long pid, struct iovec *guest)
{
	struct saved *entry = find(guest->iov_base);
	long result;

	if (entry == NULL)
		return host_ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, guest);
	result = refresh(entry, pid);
	if (result < 0)
		return result;
	if (guest->iov_len > entry->size)
		guest->iov_len = entry->size;
	memcpy(guest->iov_base, entry->state, guest->iov_len);
	return 0;
}

static long set_state(long pid, struct iovec *guest)
{
	struct saved *entry = find(guest->iov_base);
	const uint8_t *part = guest->iov_base;
	uint64_t in_use, guest_in_use;

	if (entry == NULL || guest->iov_len <= EXTENDED)
		return host_ptrace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, guest);
	if (entry->size == 0 && refresh(entry, pid) < 0)
		return -1;
	if (guest->iov_len >= entry->size)
		return host_ptrace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, guest);

	memcpy(&in_use, entry->state + HEADER, sizeof(in_use));
	memcpy(&guest_in_use, part + HEADER, sizeof(guest_in_use));
	in_use = (in_use & ~GUEST_COMPONENTS) | (guest_in_use & GUEST_COMPONENTS);
	memcpy(entry->state, part, LEGACY_REGISTERS);
	memcpy(entry->state + HEADER, &in_use, sizeof(in_use));
	memcpy(entry->state + EXTENDED, part + EXTENDED, guest->iov_len - EXTENDED);
	struct iovec whole = {.iov_base = entry->state, .iov_len = entry->size};
	return host_ptrace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &whole);
}

/* ptrace takes the place of glibc's. The system call stores a peeked word, glibc's function
 * returns it. */
long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	long pid, word;
	uintptr_t address;
	void *data;

	va_start(arguments, request);
	pid = va_arg(arguments, pid_t);
	address = va_arg(arguments, uintptr_t);
	data = va_arg(arguments, void *);
	va_end(arguments);

	switch (request) {
	case PTRACE_GETREGSET:
		if (address == NT_X86_XSTATE)
			return get_state(pid, data);
		break;
	case PTRACE_SETREGSET:
		if (address == NT_X86_XSTATE)
			return set_state(pid, data);
		break;
	case PTRACE_PEEKTEXT:
	case PTRACE_PEEKDATA:
	case PTRACE_PEEKUSER:
		return host_ptrace(request, pid, address, &word) < 0 ? -1 : word;
	default:
		break;
	}
	return host_ptrace(request, pid, address, data);
}
