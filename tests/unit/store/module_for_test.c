/* SPDX-License-Identifier: Apache-2.0 */
/* A module as a store's package has it, and, by WRONG_…, modules that do not fit in one respect each. NAME: of its file. */
#include <errno.h>
#include "array/reactor/reactor.h"
#include "array/store/module.h"

static int create(const struct store_module_options *o, struct fault *fault)
{
	return fault_set(fault, -EEXIST, "There is an array %s in %s.", o->array, o->ceph_pool);
}

/* Uses the program's reactor: this one has none of its own. */
static int open(const struct store_module_options *o, struct reactor *reactor, struct store **out,
	struct fault *fault)
{
	(void)o;
	(void)fault;
	*out = NULL;
	reactor_stop(reactor);
	return 0;
}

#ifdef WRONG_SYMBOL
#define umbra_store_module another_name
extern const struct store_module another_name;
#endif
const struct store_module umbra_store_module = {
#ifdef WRONG_LAYOUT
	.version = STORE_MODULE_VERSION + 1,
#else
	.version = STORE_MODULE_VERSION,
#endif
#ifdef WRONG_UMBRA
	.umbra = "0.0.1",
#else
	.umbra = UMBRA_VERSION,
#endif
#ifdef WRONG_NAME
	.name = "another",
#else
	.name = NAME,
#endif
	.library = "libnothing 1",
	.create = create,
	.open = open,
};
