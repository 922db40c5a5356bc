/* memory.h - the pretend GPU's memory: one region of addresses that the host cannot touch.
 *
 * The region is closed (PROT_NONE) and opened only while device work runs, so that host code that follows a
 * device pointer faults, as it would with a GPU.  New memory is NaN in every float type.  A band around each
 * allocation holds another NaN; a write into it is found when the allocation is freed or the host waits.
 * Not thread safe: runtime.cpp holds its lock. */
#pragma once

#include <stddef.h>

/* memory_allocate - 256-byte aligned, NULL when it does not fit.  memory_free - false when data is not the
 * start of an allocation. */
void *memory_allocate(size_t size_bytes);
bool memory_free(void *data);

/* memory_contains - is this range inside one live allocation? */
bool memory_contains(const void *data, size_t size_bytes);

/* memory_is_device - is this address in the region, allocated or not? */
bool memory_is_device(const void *address);

/* memory_free_bytes - what is not allocated; memory_total_bytes - the whole. */
size_t memory_free_bytes();
size_t memory_total_bytes();

/* memory_check - abort, naming the allocation, when something was written outside one. */
void memory_check();

/* memory_open, memory_close - let device work in; calls nest. */
void memory_open();
void memory_close();
