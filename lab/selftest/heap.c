/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-selftest-heap.so: a heap that lies where Wine wants its shared data, made to order.
 *
 * Linux puts a program's heap at random into the 1 GB behind it, and wine64 lies at 7D000000h: in some thousand starts of
 * programs there is one whose heap covers 7FFE0000h, the one address that Windows gives to every process alike. wine64-preloader
 * keeps that range free. Here it is taken in each process, if it is to be had, before Wine looks.
 */
#include <stdint.h>
#include <sys/mman.h>

__attribute__((constructor)) static void lie_in_the_way(void)
{
	mmap((void *)(uintptr_t)0x7ffe0000, 0x1000, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}
