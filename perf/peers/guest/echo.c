/* The echo service (RFC 862) of a guest, over UDP and TCP on port 7, at each of the addresses it is
 * called with, and behind "-u" the sockets without which a kernel that was given keys by hand takes ESP
 * in UDP (RFC 3948) for datagrams of an unknown port. It writes "ready" once all of them are open. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	ENCAPSULATION = 100, /* socket option of level UDP: UDP_ENCAP */
	ESP_IN_UDP = 2,      /* its value: UDP_ENCAP_ESPINUDP */
	BACKLOG = 16
};
#define ECHO_PORT "7"
#define NATT_PORT "4500"

static void check(long result, const char *what, const char *address)
{
	if (result < 0) {
		fprintf(stderr, "echo: %s at %s: %s\n", what, address, strerror(errno));
		exit(1);
	}
}

/* open_socket binds a socket of the type to a numeric address and port. */
static int open_socket(const char *address, const char *port, int type)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = type};
	struct addrinfo *found;
	const int on = 1;
	int fd;

	if (getaddrinfo(address, port, &hints, &found) != 0) {
		fprintf(stderr, "echo: expected an IP address, found %s\n", address);
		exit(1);
	}
	fd = socket(found->ai_family, type | SOCK_CLOEXEC, 0);
	check(fd, "socket", address);
	check(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), "SO_REUSEADDR", address);
	if (found->ai_family == AF_INET6) /* "::" leaves IPv4 to a socket of its own */
		check(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), "IPV6_V6ONLY", address);
	check(bind(fd, found->ai_addr, found->ai_addrlen), "bind", address);
	freeaddrinfo(found);
	return fd;
}

static void open_encapsulation(const char *address)
{
	const int kind = ESP_IN_UDP;
	int fd = open_socket(address, NATT_PORT, SOCK_DGRAM);

	check(setsockopt(fd, IPPROTO_UDP, ENCAPSULATION, &kind, sizeof(kind)), "UDP_ENCAP", address);
}

/* echo_stream gives a connection back what it sends, in a process of its own. */
static void echo_stream(int listener)
{
	char buffer[1 << 14];
	ssize_t size;
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		return;
	if (fork() != 0) {
		close(fd);
		return;
	}
	while ((size = read(fd, buffer, sizeof(buffer))) > 0)
		for (ssize_t done = 0; done < size;) {
			ssize_t n = write(fd, buffer + done, (size_t)(size - done));
			if (n < 0)
				_exit(1);
			done += n;
		}
	_exit(0);
}

static void echo_datagram(int fd)
{
	static char buffer[1 << 16];
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	ssize_t size = recvfrom(fd, buffer, sizeof(buffer), MSG_DONTWAIT, (struct sockaddr *)&from, &length);

	if (size >= 0)
		(void)sendto(fd, buffer, (size_t)size, 0, (struct sockaddr *)&from, length);
}

int main(int argc, char **argv)
{
	int first = argc > 1 && strcmp(argv[1], "-u") == 0 ? 2 : 1;
	size_t count = 2 * (size_t)(argc - first);
	struct pollfd *sockets = calloc(count + 1, sizeof(*sockets));

	if (sockets == NULL)
		return 1;
	signal(SIGCHLD, SIG_IGN); /* ended connections leave nothing */
	if (first == 2) {
		open_encapsulation("0.0.0.0");
		open_encapsulation("::");
	}
	for (size_t i = 0; i < count; i += 2) { /* even: datagrams, odd: streams */
		const char *address = argv[(size_t)first + i / 2];

		sockets[i] = (struct pollfd){.fd = open_socket(address, ECHO_PORT, SOCK_DGRAM), .events = POLLIN};
		sockets[i + 1] = (struct pollfd){.fd = open_socket(address, ECHO_PORT, SOCK_STREAM), .events = POLLIN};
		check(listen(sockets[i + 1].fd, BACKLOG), "listen", address);
	}
	puts("ready");
	fflush(stdout);
	while (poll(sockets, count, -1) > 0 || errno == EINTR)
		for (size_t i = 0; i < count; i++)
			if (sockets[i].revents & POLLIN) {
				if (i % 2 == 0)
					echo_datagram(sockets[i].fd);
				else
					echo_stream(sockets[i].fd);
			}
	free(sockets);
	return 1;
}
