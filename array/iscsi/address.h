/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPv4 and IPv6 addresses of portals and peers: to and from text, compared.
 */
#ifndef UMBRA_ISCSI_ADDRESS_H
#define UMBRA_ISCSI_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* "192.0.2.1", "[2001:db8::1]"; with its port "192.0.2.1:3260". */
void iscsi_address_text(const struct sockaddr_storage *address, char *out, size_t cap, bool with_port);
uint16_t iscsi_address_port(const struct sockaddr_storage *address);
/* 0, or -EINVAL: text is no numeric address. */
int iscsi_address_parse(const char *text, uint16_t port, struct sockaddr_storage *out, socklen_t *len);
/* Ports do not matter. */
bool iscsi_address_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
bool iscsi_address_is_wildcard(const struct sockaddr_storage *a);

#endif
