/* clock.h - what this process has used so far: time and memory. */
#pragma once

#include <stdint.h>

/* peak_memory_bytes - VmHWM of this process, 0 where unknown. */
int64_t peak_memory_bytes(void);
/* clock_s - monotonic seconds: a step of the system clock must not show as a slow op. */
double clock_s(void);
