/* doctor.h - what cmd_doctor.c tells: facts of this machine, and quick measurements of about half a second
 * each. */
#pragma once

#include "kernels/tensor.h"
#include "train/ranks/comm.h"

/* doctor_processor - its name, and which of avx2 avx512f avx512_bf16 amx_bf16 it has. */
void doctor_processor(char *model, size_t model_room, char *features, size_t features_room);

/* doctor_cgroup_cores - cores' time that a container allows; 0: no limit or unknown.
 * doctor_cgroup_memory_gb - the same for memory. */
double doctor_cgroup_cores(void);
double doctor_cgroup_memory_gb(void);

/* doctor_memory - of the host, in GB; 0 where unknown. */
void doctor_memory(double *total_gb, double *available_gb);

/* doctor_num_threads - that the measurements use. */
int doctor_num_threads(void);

/* doctor_gemm_gflops - a linear layer of 512 x 1024 x 1024 through kernels/ops.h, again and again for measure_s seconds; dtype f32
 * or bf16. */
double doctor_gemm_gflops(enum dtype dtype, double measure_s);

/* doctor_copy_gb_per_s - bytes read and written by copying between two buffers larger than any cache, for measure_s seconds. */
double doctor_copy_gb_per_s(double measure_s);

/* doctor_write_mb_per_s - 64 MiB written and synced to a file in folder, removed afterwards.  0 with err set
 * where that fails. */
double doctor_write_mb_per_s(const char *folder, struct err *err);
