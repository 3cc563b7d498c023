// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into slirp, the guest's network (umbra_guest.py): its connections send at once, as initiators' do
 * (TCP_NODELAY). Without it each command waits 40 ms for an acknowledgement.
 */
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

int connect(int fd, const struct sockaddr *address, socklen_t len_bytes)
{
	int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* any other socket refuses it */
	return real(fd, address, len_bytes);
}
