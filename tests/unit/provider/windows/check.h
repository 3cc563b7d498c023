/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest test frame: a failed CHECK prints where and ends the process with 1. */
#ifndef UMBRA_TESTS_PROVIDER_CHECK_H
#define UMBRA_TESTS_PROVIDER_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                     \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);                               \
			fflush(stdout);                                                                      \
			_Exit(1);                                                                            \
		}                                                                                            \
	} while (0)

#define CHECK_HR(call, wanted)                                                                               \
	do {                                                                                                 \
		HRESULT hr_ = (call), wanted_ = (wanted);                                                    \
		if (hr_ != wanted_) {                                                                        \
			printf("%s:%d: %s: 0x%08lx, not 0x%08lx\n", __FILE__, __LINE__, #call,               \
				(unsigned long)hr_, (unsigned long)wanted_);                                 \
			fflush(stdout);                                                                      \
			_Exit(1);                                                                            \
		}                                                                                            \
	} while (0)

struct test {
	const char *name;
	void (*run)(void);
};
#define TEST(function)                                                                                       \
	{                                                                                                    \
#function, function                                                                          \
	}

static inline int run_tests(const struct test *tests, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		printf("%s\n", tests[i].name);
		fflush(stdout);
		tests[i].run();
	}
	printf("%u tests passed\n", (unsigned)count);
	fflush(stdout);
	return 0;
}

#endif
