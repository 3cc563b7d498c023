/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the catalogue when the array is opened. */
#ifndef UMBRA_MODEL_CATALOGUE_H
#define UMBRA_MODEL_CATALOGUE_H

#include "array/model/base/base.h"

int catalogue_load(struct array *a, struct fault *fault);

#endif
