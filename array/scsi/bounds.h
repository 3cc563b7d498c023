/* SPDX-License-Identifier: Apache-2.0 */
/* What this target does at most with one command; hosts are told (INQUIRY, MODE SENSE). */
#ifndef UMBRA_SCSI_BOUNDS_H
#define UMBRA_SCSI_BOUNDS_H

#include "array/scsi/scsi.h"

#define SCSI_BLOCK_BYTES           STORE_BLOCK_BYTES
#define SCSI_UNMAP_DESCRIPTORS_MAX 256u
#define SCSI_UNMAP_BLOCKS_MAX      (UINT32_C(1) << 20) /* 512 MiB */
#define SCSI_WRITE_SAME_BLOCKS_MAX (UINT32_C(1) << 15) /* 16 MiB */
#define SCSI_VERIFY_BLOCKS_MAX     (UINT32_C(1) << 18) /* 128 MiB, without data */
#define SCSI_UNMAP_GRANULARITY     128u                /* blocks: the pool's chunk */
#define SCSI_THRESHOLD_EXPONENT    11u                 /* space is counted in 2^11 blocks = 1 MiB */

#endif
