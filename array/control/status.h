/* SPDX-License-Identifier: Apache-2.0 */
/* The one table that turns the array's errors into the control protocol's status codes. */
#ifndef UMBRA_CONTROL_STATUS_H
#define UMBRA_CONTROL_STATUS_H

#include "proto/umbra_proto.h"

/* err: 0 or a negative errno of array/model/array.h. Unknown ones are UP_INTERNAL. */
enum up_status control_status(int err);

/* What the asking side can do about a status when nothing better is known; never NULL, "" for UP_OK. */
const char *control_remedy(enum up_status status);
/* The same for an error of the array's that came without a text. */
const char *control_sentence(int err);

#endif
