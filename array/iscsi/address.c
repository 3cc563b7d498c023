/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See address.h. An address is one of IPv4 or IPv6; of any other family it is written "?".
 */
#include "array/iscsi/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct sockaddr_in *v4_of(const struct sockaddr_storage *a)
{
	return (const struct sockaddr_in *)(const void *)a;
}

static const struct sockaddr_in6 *v6_of(const struct sockaddr_storage *a)
{
	return (const struct sockaddr_in6 *)(const void *)a;
}

void iscsi_address_text(const struct sockaddr_storage *address, char *out, size_t cap, bool with_port)
{
	bool v6 = address->ss_family == AF_INET6;
	char text[INET6_ADDRSTRLEN] = "?";

	if (v6)
		inet_ntop(AF_INET6, &v6_of(address)->sin6_addr, text, sizeof(text));
	else if (address->ss_family == AF_INET)
		inet_ntop(AF_INET, &v4_of(address)->sin_addr, text, sizeof(text));
	if (with_port)
		snprintf(out, cap, v6 ? "[%s]:%u" : "%s:%u", text, iscsi_address_port(address));
	else
		snprintf(out, cap, v6 ? "[%s]" : "%s", text);
}

uint16_t iscsi_address_port(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET6)
		return ntohs(v6_of(address)->sin6_port);
	if (address->ss_family == AF_INET)
		return ntohs(v4_of(address)->sin_port);
	return 0;
}

int iscsi_address_parse(const char *text, uint16_t port, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		*len = sizeof(*v4);
		return 0;
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		*len = sizeof(*v6);
		return 0;
	}
	return -EINVAL;
}

bool iscsi_address_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET6)
		return memcmp(&v6_of(a)->sin6_addr, &v6_of(b)->sin6_addr, 16) == 0;
	return v4_of(a)->sin_addr.s_addr == v4_of(b)->sin_addr.s_addr;
}

bool iscsi_address_is_wildcard(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&v6_of(a)->sin6_addr);
	return v4_of(a)->sin_addr.s_addr == htonl(INADDR_ANY);
}
