/* SPDX-License-Identifier: Apache-2.0 */
/* Where umbrad's files are unless something else is said: for umbrad, and for umbractl, which looks for them there. */
#ifndef UMBRA_UTIL_PLACES_H
#define UMBRA_UTIL_PLACES_H

#define PLACE_CONFIG "/etc/umbra/umbrad.conf"
#define PLACE_SOCKET "/run/umbra/umbrad.sock"

#endif
