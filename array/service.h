/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the service needs of systemd and of root, by what stands in the configuration. It runs as a user of its own, which
 * may write to nothing but the pool and open no device but the pool's.
 */
#ifndef UMBRA_SERVICE_H
#define UMBRA_SERVICE_H

#include <stdio.h>
#include "array/config.h"
#include "array/util/fault.h"

/* Writes a drop-in for umbrad.service: where it may write, its device, its groups, the right to low ports. */
void service_write_unit(const struct config *config, FILE *out);

/* By root, before the service starts: the pool and its mirror become the user's, as far as they are root's. */
int service_give_pool(const struct config *config, const char *user, struct fault *fault);

#endif
