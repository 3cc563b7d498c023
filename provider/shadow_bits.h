/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a shadow LUN's partition table tells of VSS: while VSS has it as a shadow copy its partitions bear the attribute
 * for that, and a break takes it away, also one of which no provider hears. Pure.
 */
#ifndef UMBRA_PROVIDER_SHADOW_BITS_H
#define UMBRA_PROVIDER_SHADOW_BITS_H

#include <stddef.h>
#include <stdint.h>

#define SHADOW_BITS_LOOK_BYTES 65536 /* of the disk's start: a GPT with blocks of 512 or 4096 bytes */

enum shadow_bits {
	SHADOW_BITS_UNKNOWN, /* no GPT, or none with a partition */
	SHADOW_BITS_SET,     /* a shadow copy of VSS */
	SHADOW_BITS_CLEAR,   /* a disk like any other */
};

enum shadow_bits shadow_bits_of(const uint8_t *start, size_t len_bytes);

/* Of a disk of this host, by its device name (adopt.c). */
enum shadow_bits shadow_bits_of_device(const char *name);

#endif
