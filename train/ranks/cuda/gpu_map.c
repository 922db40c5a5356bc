/* gpu_map.c - which rank of a node computes on which of its GPUs. */
#include "train/ranks/cuda/gpu_map.h"

#include <ctype.h>
#include <cuda_runtime_api.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/ranks/sysfs.h"

/* --- which one --- */

/* local_rank_of - comm's, unless the environment knows better.  Returns 0, or -1 with err set. */
static int local_rank_of(const struct comm *comm, int *local_rank, struct err *err) {
    const char *text = getenv("ATELIER_LOCAL_RANK");
    *local_rank = comm ? comm_local_rank(comm) : 0;
    if (!text || !text[0])
        return 0;
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || *end || !isdigit((unsigned char)text[0]) || value > INT_MAX)
        return err_set(err, "ATELIER_LOCAL_RANK is '%.40s': expected the rank's number on its host, from 0",
                       text);
    *local_rank = (int)value;
    return 0;
}

/* no_gpu - what cudaGetDeviceCount says, with what to do about it. */
static int no_gpu(cudaError_t status, struct err *err) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int driver = 0, runtime = 0;
    if (status == cudaErrorInsufficientDriver) {
        cudaDriverGetVersion(&driver);
        cudaRuntimeGetVersion(&runtime);
        if (driver > 0)
            return err_set(
                err,
                "the NVIDIA driver is too old: it knows CUDA %d.%d, this atelier was built with %d.%d; "
                "update the driver, or build with an older CUDA",
                driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
        return err_set(err, "no NVIDIA driver on this host: start on a GPU node, or set 'run.device: cpu'");
    }
    if (status == cudaErrorNoDevice || status == cudaSuccess)
        return err_set(err, "no GPU on this host%s%.80s%s: ask for one, or set 'run.device: cpu'",
                       visible ? " (CUDA_VISIBLE_DEVICES is '" : "", visible ? visible : "",
                       visible ? "')" : "");
    return err_set(err, "CUDA cannot start: %s: 'nvidia-smi' may tell more", cudaGetErrorString(status));
}

int gpu_map_choose(const struct comm *comm, int *ordinal, struct err *err) {
    int count = 0, local_rank = 0;
    if (local_rank_of(comm, &local_rank, err))
        return -1;
    cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess || count < 1)
        return no_gpu(status, err);
    /* One visible GPU: the launcher has already given each rank its own. */
    *ordinal = local_rank % count;
    return 0;
}

void gpu_map_see(struct gpu_seen *seen, int ordinal) {
    struct cudaDeviceProp properties;
    memset(seen, 0, sizeof *seen);
    if (cudaGetDeviceCount(&seen->count) != cudaSuccess)
        seen->count = 0;
    if (cudaGetDeviceProperties(&properties, ordinal) != cudaSuccess)
        return;
    seen->arch = 10 * properties.major + properties.minor;
    snprintf(seen->name, sizeof seen->name, "%.*s", (int)sizeof seen->name - 1, properties.name);
}

/* --- all of them --- */

/* uuid_text - as nvidia-smi writes it. */
static void uuid_text(char *text, size_t room_bytes, const cudaUUID_t *uuid) {
    size_t used = (size_t)snprintf(text, room_bytes, "GPU-");
    for (int i = 0; i < 16; i++)
        used +=
            (size_t)snprintf(text + used, room_bytes - used, "%s%02x",
                             i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", (unsigned char)uuid->bytes[i]);
}

/* entry_of - this rank's GPU.  What CUDA does not tell stays empty: the map informs, it does not decide. */
static void entry_of(struct gpu_entry *entry, int ordinal) {
    struct cudaDeviceProp properties;
    struct sysfs_place place;
    memset(entry, 0, sizeof *entry);
    gethostname(entry->host, sizeof entry->host - 1);
    entry->ordinal = ordinal;
    if (cudaGetDeviceProperties(&properties, ordinal) == cudaSuccess) {
        snprintf(entry->name, sizeof entry->name, "%.*s", (int)sizeof entry->name - 1, properties.name);
        uuid_text(entry->uuid, sizeof entry->uuid, &properties.uuid);
    }
    if (cudaDeviceGetPCIBusId(entry->bus, (int)sizeof entry->bus, ordinal) != cudaSuccess)
        entry->bus[0] = '\0';
    sysfs_pci_device(sysfs_root(), entry->bus, &place);
    entry->numa = place.numa;
}

void gpu_map_gather(struct gpu_map *map, struct comm *comm, int ordinal) {
    struct gpu_entry mine;
    entry_of(&mine, ordinal);
    map->num_ranks = comm ? comm_num_ranks(comm) : 1;
    map->entries = xcalloc((size_t)map->num_ranks, sizeof *map->entries);
    if (comm)
        comm_gather_bytes(comm, &mine, sizeof mine, map->entries);
    else
        map->entries[0] = mine;
}

void gpu_map_print(const struct gpu_map *map, FILE *out) {
    for (int r = 0; r < map->num_ranks; r++) {
        const struct gpu_entry *entry = &map->entries[r];
        fprintf(out, "rank %d host %s GPU %d %s UUID %s NUMA ", r, entry->host, entry->ordinal, entry->name,
                entry->uuid);
        if (entry->numa >= 0)
            fprintf(out, "%d\n", entry->numa);
        else
            fprintf(out, "unknown\n");
    }
}

void gpu_map_free(struct gpu_map *map) {
    free(map->entries);
    memset(map, 0, sizeof *map);
}

/* by_uuid - of qsort; ranks on one GPU become neighbours, in the order of the ranks. */
static int by_uuid(const void *a, const void *b) {
    const struct gpu_entry *const *left = a, *const *right = b;
    int order = strcmp((*left)->uuid, (*right)->uuid);
    return order ? order : (*left < *right ? -1 : *left > *right);
}

/* By UUID and not by number: two containers on a host may both count their only GPU as 0, and two numbers may be one board. */
int gpu_map_check(const struct gpu_map *map, enum transport_kind kind, struct err *err) {
    int status = 0;
    if (kind == TRANSPORT_STAGED)
        return 0;
    const struct gpu_entry **sorted = xcalloc((size_t)map->num_ranks, sizeof *sorted);
    for (int r = 0; r < map->num_ranks; r++)
        sorted[r] = &map->entries[r];
    qsort(sorted, (size_t)map->num_ranks, sizeof *sorted, by_uuid);
    for (int i = 1; i < map->num_ranks && !status; i++) {
        const struct gpu_entry *one = sorted[i - 1], *other = sorted[i];
        if (one->uuid[0] && strcmp(one->uuid, other->uuid) == 0)
            status = err_set(
                err,
                "ranks %d and %d share GPU %d of host '%s' (%s): start one rank for each GPU, or set "
                "'parallel.comm: mpi', which is slow",
                (int)(one - map->entries), (int)(other - map->entries), one->ordinal, one->host, one->uuid);
    }
    free(sorted);
    return status;
}
