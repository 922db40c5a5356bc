/* absent.c - the entry points of train/ranks/cuda/ in a program built without CUDA. */
#include <string.h>

#include "train/ranks/cuda/gpu_map.h"
#include "train/ranks/cuda/transport_cuda.h"

static int absent(struct err *err) {
    return err_set(
        err, "this program was built without CUDA: build it where nvcc is found, or compute on processors "
             "(run.device: cpu, --device cpu)");
}

int transport_nccl_open(struct transport *transport, struct err *err) {
    (void)transport;
    return absent(err);
}

int gpu_map_choose(const struct comm *comm, int *ordinal, struct err *err) {
    (void)comm;
    (void)ordinal;
    return absent(err);
}

/* What follows is not reached: there is no GPU to ask about. */

void gpu_map_see(struct gpu_seen *seen, int ordinal) {
    (void)ordinal;
    memset(seen, 0, sizeof *seen);
}

void gpu_map_gather(struct gpu_map *map, struct comm *comm, int ordinal) {
    (void)comm;
    (void)ordinal;
    memset(map, 0, sizeof *map);
}

void gpu_map_print(const struct gpu_map *map, FILE *out) {
    (void)map;
    (void)out;
}

void gpu_map_free(struct gpu_map *map) {
    (void)map;
}

int gpu_map_check(const struct gpu_map *map, enum transport_kind kind, struct err *err) {
    (void)map;
    (void)kind;
    return absent(err);
}
