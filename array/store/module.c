/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds and loads a store's module. It is trusted as the program is, so it is looked for only beside the program, where packages
 * put it, or where whoever starts the program says; never in the working directory or in the linker's search path.
 */
#include "array/store/module.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYMBOL "umbra_store_module"

/* The folder of the running program. */
static int own_folder(char folder[PATH_MAX])
{
	ssize_t len = readlink("/proc/self/exe", folder, PATH_MAX - 1);

	if (len < 0)
		return -errno;
	folder[len] = '\0';
	char *slash = strrchr(folder, '/');
	*(slash ? slash : folder) = '\0';
	return 0;
}

/* Where the module lies; when it lies nowhere, where it was looked for last. */
static int find(const char *name, char path[PATH_MAX])
{
	const char *given = getenv("UMBRA_MODULES");
	char own[PATH_MAX];
	int len;

	if (given && *given) {
		len = snprintf(path, PATH_MAX, "%s/umbra-store-%s.so", given, name);
		return len >= PATH_MAX ? -ENAMETOOLONG : access(path, F_OK) ? -errno : 0;
	}
	int err = own_folder(own);
	if (err)
		return err;
	len = snprintf(path, PATH_MAX, "%s/umbra-store-%s.so", own, name);
	if (len < PATH_MAX && !access(path, F_OK))
		return 0;
	len = snprintf(path, PATH_MAX, "%s%s" UMBRA_LIBDIR "/umbra/umbra-store-%s.so",
		*UMBRA_LIBDIR == '/' ? "" : own, *UMBRA_LIBDIR == '/' ? "" : "/../", name);
	return len >= PATH_MAX ? -ENAMETOOLONG : access(path, F_OK) ? -errno : 0;
}

const struct store_module *store_module_load(const char *name, struct fault *fault)
{
	char path[PATH_MAX];
	int err = find(name, path);

	if (err == -ENOENT) {
		fault_set(fault, err, "The store %s is not installed: install the package umbra-%s.", name,
			name);
		return NULL;
	}
	if (err) {
		fault_set(fault, err,
			"The module of the store %s cannot be read (%s): install the package umbra-%s anew.",
			name, strerror(-err), name);
		return NULL;
	}
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		fault_set(fault, -ELIBACC,
			"The store %s cannot be loaded (%.100s): install the package umbra-%s anew, with all that it "
			"depends on.",
			name, dlerror(), name);
		return NULL;
	}
	const struct store_module *module = dlsym(handle, SYMBOL);
	if (!module || module->version != STORE_MODULE_VERSION || !module->umbra ||
		strcmp(module->umbra, UMBRA_VERSION) != 0 || strcmp(module->name, name) != 0) {
		dlclose(handle);
		fault_set(fault, -ELIBBAD,
			"The module of the store %s is not of this program's version (%s): install umbra and umbra-%s "
			"of the same version.",
			name, UMBRA_VERSION, name);
		return NULL;
	}
	return module;
}
