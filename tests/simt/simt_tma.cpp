/* simt_tma.cpp - host twin of the TMA engine: tensor maps, tile loads and stores. */
#include <sched.h>

#include "simt_internal.h"

using namespace simt;

enum : uint32_t { MAP_MAGIC = 0x7ea50a9u };

int tensor_map_encode(struct tensor_map *map, enum dtype dtype, int ndim, const void *base,
                      const int64_t *dims, const int64_t *strides_bytes, const int *box, int swizzle_bytes) {
    if (dtype != DTYPE_F32 && dtype != DTYPE_BF16 && dtype != DTYPE_F16)
        return -1;
    if ((swizzle_bytes != 0 && swizzle_bytes != 32 && swizzle_bytes != 64 && swizzle_bytes != 128) || !base ||
        (uintptr_t)base % 16)
        return -1;
    int element_bytes = dtype == DTYPE_F32 ? 4 : 2, row_bytes = box[0] * element_bytes;
    if (row_bytes % 16 || (swizzle_bytes && row_bytes != swizzle_bytes))
        return -1;
    *map = tensor_map();
    map->base = (char *)base;
    map->ndim = ndim;
    map->element_bytes = element_bytes;
    map->swizzle_bytes = swizzle_bytes;
    map->magic = MAP_MAGIC;
    for (int i = 0; i < 4; i++) {
        map->dims[i] = i < ndim ? dims[i] : 1;
        map->box[i] = i < ndim ? box[i] : 1;
        if (map->dims[i] < 1 || map->dims[i] > INT64_C(1) << 32 || map->box[i] < 1 || map->box[i] > 256)
            return -1;
    }
    for (int i = 0; i < ndim - 1; i++) {
        map->strides_bytes[i] = strides_bytes[i];
        if (strides_bytes[i] < 0 || strides_bytes[i] % 16 || strides_bytes[i] >= INT64_C(1) << 40)
            return -1;
    }
    return 0;
}

/* A box in the tensor and in shared memory. */
struct tile {
    tensor_map map;
    block *owner;
    uint32_t address;
    int at[4];
};

static size_t tile_bytes(const tensor_map &map) {
    return (size_t)map.box[0] * map.box[1] * map.box[2] * map.box[3] * map.element_bytes;
}

static tile make_tile(const char *op, const tensor_map *map, uint32_t address, int ndim, const int *at) {
    if (map->magic != MAP_MAGIC || map->ndim != ndim)
        fail("%s: not a tensor map of %d axes", op, ndim);
    uint32_t align = map->swizzle_bytes ? (uint32_t)map->swizzle_bytes * 8 : 128;
    shared_pointer(op, address, tile_bytes(*map), align);
    tile t = {*map, current->block, address, {0, 0, 0, 0}};
    std::copy(at, at + ndim, t.at);
    return t;
}

/* The global address of element at[0] = 0 of a line of the tensor, or NULL where there is no such line. */
static char *global_line(const tensor_map &map, const int64_t at[4]) {
    char *line = map.base;
    for (int i = 1; i < 4; i++) {
        if (at[i] < 0 || at[i] >= map.dims[i])
            return nullptr;
        line += at[i] * map.strides_bytes[i - 1];
    }
    return line;
}

/* Call visit(global address or NULL, shared bytes, number of bytes) for the pieces of one line of the box: 16
 * bytes, or single elements where the tensor ends. */
template <class F>
static void each_piece_of_line(const tile &t, char *line, uint32_t shared_address, F visit) {
    int64_t element = t.map.element_bytes, per_chunk = 16 / element;
    for (int64_t i = 0; i < t.map.box[0]; i += per_chunk) {
        uint32_t address = swizzle_address(shared_address + (uint32_t)(i * element), t.map.swizzle_bytes);
        char *shared = t.owner->shared + (address - SHARED_BASE);
        int64_t first = t.at[0] + i;
        if (line && first >= 0 && first + per_chunk <= t.map.dims[0]) {
            visit(line + first * element, shared, (size_t)16);
            continue;
        }
        for (int64_t e = 0; e < per_chunk; e++) {
            bool inside = line && first + e >= 0 && first + e < t.map.dims[0];
            visit(inside ? line + (first + e) * element : nullptr, shared + e * element, (size_t)element);
        }
    }
}

template <class F> static void each_piece(const tile &t, F visit) {
    const int *box = t.map.box;
    uint32_t address = t.address;
    for (int z = 0; z < box[3]; z++)
        for (int y = 0; y < box[2]; y++)
            for (int x = 0; x < box[1]; x++) {
                const int64_t at[4] = {0, (int64_t)t.at[1] + x, (int64_t)t.at[2] + y, (int64_t)t.at[3] + z};
                each_piece_of_line(t, global_line(t.map, at), address, visit);
                address += (uint32_t)(box[0] * t.map.element_bytes);
            }
}

/* --- Loads. */

static void land_load(const tile &t, uint32_t bar_address) {
    size_t bytes = tile_bytes(t.map);
    check_fenced(*t.owner, "tma_load", t.address, bytes);
    each_piece(t, [](const char *global, char *shared, size_t size_bytes) {
        if (global)
            memcpy(shared, global, size_bytes);
        else
            memset(shared, 0, size_bytes);
    });
    forget_writes(*t.owner, t.address, bytes);
    mbarrier &bar = find_mbarrier(*t.owner, "tma_load", bar_address);
    bar.bytes -= (int64_t)bytes;
    if (bar.bytes < 0)
        fail("tma_load brings %lld bytes more than the mbarrier at shared offset %u expects",
             (long long)-bar.bytes, bar_address - SHARED_BASE);
    complete_phase(bar);
}

void simt::tma_load(uint32_t address, const tensor_map *map, uint32_t bar_address, int ndim, const int *at) {
    tile t = make_tile("tma_load", map, address, ndim, at);
    if (find_mbarrier(*current->block, "tma_load", bar_address).unfenced)
        fail("tma_load: the mbarrier at shared offset %u was initialised without mbarrier_init_fence",
             bar_address - SHARED_BASE);
    start_in_flight([t, bar_address] { land_load(t, bar_address); });
    yield();
}

/* --- Stores: shared memory is read, later the tensor is written.  Both as late as the waits allow, or at
 * once. */

/* Bytes that go to global memory as they lie; NULL: a tile. */
struct line {
    char *global;
    size_t bytes;
    bool adds; /* f32 values to those that are there */
};

struct simt::pending_store {
    tile t;
    line bulk;
    std::vector<char> bytes; /* as read; empty before */
    bool written, waited_for;
};

static void read_line(pending_store &s) {
    check_fenced(*s.t.owner, "bulk store", s.t.address, s.bulk.bytes);
    const char *shared = s.t.owner->shared + (s.t.address - SHARED_BASE);
    s.bytes.assign(shared, shared + s.bulk.bytes);
}

static void write_line(const pending_store &s) {
    if (!s.bulk.adds) {
        memcpy(s.bulk.global, s.bytes.data(), s.bulk.bytes);
        return;
    }
    float *to = (float *)s.bulk.global;
    for (size_t i = 0; i < s.bulk.bytes / sizeof(float); i++) {
        float value;
        memcpy(&value, &s.bytes[i * sizeof value], sizeof value);
        to[i] += value;
    }
}

static void read_store(pending_store &s) {
    if (!s.bytes.empty())
        return;
    if (s.bulk.global)
        return read_line(s);
    check_fenced(*s.t.owner, "tma_store", s.t.address, tile_bytes(s.t.map));
    each_piece(s.t, [&](char *, const char *shared, size_t size_bytes) {
        s.bytes.insert(s.bytes.end(), shared, shared + size_bytes);
    });
}

static void write_store(pending_store &s) {
    read_store(s);
    if (s.written)
        return;
    s.written = true;
    if (s.bulk.global)
        return write_line(s);
    size_t offset = 0;
    each_piece(s.t, [&](char *global, char *, size_t size_bytes) {
        if (global)
            memcpy(global, &s.bytes[offset], size_bytes);
        offset += size_bytes;
    });
}

static void start_store(const tile &t, const line &bulk) {
    auto store = std::make_shared<pending_store>();
    store->t = t;
    store->bulk = bulk;
    if (lands_now(STORE))
        read_store(*store);
    if (lands_now(STORE))
        write_store(*store);
    current->open_stores.push_back(store);
}

void simt::tma_store(const tensor_map *map, uint32_t address, int ndim, const int *at) {
    start_store(make_tile("tma_store", map, address, ndim, at), {nullptr, 0, false});
}

static void start_line(const char *op, void *global, uint32_t address, uint32_t bytes, bool adds) {
    if (!bytes || bytes % 16 || (uintptr_t)global % 16)
        fail("%s of %u bytes to %p: not multiples of 16", op, bytes, global);
    shared_pointer(op, address, bytes, 16);
    start_store({tensor_map(), current->block, address, {0, 0, 0, 0}}, {(char *)global, bytes, adds});
}

void bulk_store(void *global, uint32_t address, uint32_t bytes) {
    start_line("bulk_store", global, address, bytes, false);
}

void bulk_add_f32(float *global, uint32_t address, uint32_t bytes) {
    start_line("bulk_add_f32", global, address, bytes, true);
}

/* --- Counters by which blocks take turns.  Blocks run in threads of this process: whoever waits lets others run. */

void counter_store(uint32_t *counter, uint32_t value) {
    __atomic_store_n(counter, value, __ATOMIC_RELEASE);
}

uint32_t counter_load(const uint32_t *counter) {
    yield();
    sched_yield();
    return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

void tma_store_commit() {
    current->store_groups.push_back(std::move(current->open_stores));
    current->open_stores.clear();
}

void simt::tma_store_wait(int num_in_flight, bool until_written) {
    auto &groups = current->store_groups;
    for (int i = 0; i < (int)groups.size() - num_in_flight; i++)
        for (auto &store : groups[(size_t)i]) {
            store->waited_for = true;
            until_written ? write_store(*store) : read_store(*store);
        }
    while (until_written && (int)groups.size() > num_in_flight)
        groups.erase(groups.begin());
    yield();
}

/* Writing may go on after the block's end; reading its shared memory may not. */
void simt::finish_stores(thread &t) {
    if (!t.open_stores.empty())
        fail("thread returns with %zu TMA stores neither committed nor waited for", t.open_stores.size());
    for (auto &group : t.store_groups)
        for (auto &store : group) {
            if (!store->waited_for)
                fail("thread returns while a TMA store may still read shared memory: tma_store_wait_read is "
                     "missing");
            write_store(*store);
        }
}
