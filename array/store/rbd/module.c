/* SPDX-License-Identifier: Apache-2.0 */
/* The one symbol that umbrad looks for in umbra-store-rbd.so. */
#include "array/store/rbd/rbd.h"

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

const struct store_module umbra_store_module = {
	.version = STORE_MODULE_VERSION,
	.umbra = UMBRA_VERSION,
	.name = "rbd",
	.library = "librbd " TEXT(LIBRBD_VER_MAJOR) "." TEXT(LIBRBD_VER_MINOR) "." TEXT(LIBRBD_VER_EXTRA),
	.create = rbd_module_create,
	.open = rbd_module_open,
	.destroy = rbd_destroy,
};
