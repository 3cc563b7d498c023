/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-selftest-slow-end.so: a machine so busy that a program needs seconds for what its libraries do at its end, made
 * to order.
 */
#include <unistd.h>

__attribute__((destructor)) static void take_long(void)
{
	sleep(3);
}
