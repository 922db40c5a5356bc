/* measure.h - what `atelier doctor` measures on a device and between ranks.  Every figure is the best of
 * several repetitions after one that does not count, by the host's clock around work that is waited for. */
#pragma once

#include "train/ranks/transport.h"

/* measure_copy - device memory bandwidth by copying size_bytes: bytes read plus bytes written, per second.
 * measure_matmul - flop/s of a bf16 product (f16 on a GPU without) [size, size] x [size, size] with random values.
 * measure_host_link - bytes per second to the device and back, from pinned host memory.
 * Return 0, or -1 with err set: not enough memory. */
int measure_copy(struct device *device, size_t size_bytes, double *bytes_per_s, struct err *err);
int measure_matmul(struct device *device, int64_t size, double *flops, struct err *err);
int measure_host_link(struct device *device, size_t size_bytes, double *up_bytes_per_s,
                      double *down_bytes_per_s, struct err *err);

/* Bandwidths of the three collectives at one size. */
struct measure_transfer {
    size_t size_bytes; /* of the whole, all shards together */
    /* Bus bandwidth: what each rank must send and receive per second at least, so that figures of different
     * numbers of ranks compare: (n - 1) / n of the whole, twice that for a sum. */
    double gather_bytes_per_s, reduce_scatter_bytes_per_s, sum_bytes_per_s;
};

/* measure_transfers - fill count results whose size_bytes are set (rounded down to whole f32 per rank); every
 * rank gets the same figures, those of the slowest.  Collective.  Returns 0, or -1 with err set on every
 * rank: one has not enough memory. */
int measure_transfers(struct transport *transport, struct measure_transfer *results, int count,
                      struct err *err);

/* measure_log_begin - ask NCCL to write its own account to a file; before transport_open.  Leaves NCCL_DEBUG
 * and NCCL_DEBUG_FILE alone where the user set them, and returns false then. measure_log_routes - which ways
 * NCCL's channels take, from that file, after the first transfer of each kind: "P2P/CUMEM (48 channels),
 * NET/IB (16 channels)"; "unknown" where the file does not say.  Returns text. */
bool measure_log_begin(const char *path);
const char *measure_log_routes(const char *path, char *text, size_t room_bytes);
