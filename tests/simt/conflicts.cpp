/* conflicts.cpp - bank conflicts of shared memory, counted per wrapper.
 *
 * Shared memory has 32 banks of 4 bytes; a request of a warp takes as many cycles as the busiest bank has
 * different words to give.  Wide accesses are split first: 16 bytes a lane go in 4 parts of 8 lanes, 8 bytes
 * in 2 of 16.  Lanes run one after the other here, so the accesses that make one request are found by their
 * place in the program: the n-th time that a lane passes the same call. */
#include <algorithm>
#include <mutex>
#include <set>

#include "control.h"
#include "fibers.h"

namespace simt {

/* One request being gathered. */
struct request {
    const char *op;
    uint32_t size_bytes;
    std::vector<uint32_t> addresses; /* by lane; 0: the lane has not come, or never will */
    int num_lanes;
};

struct access_log {
    std::map<std::pair<const void *, uint32_t>, request> gathering; /* by call and occurrence */
    std::map<std::pair<const void *, int>, uint32_t> passes;        /* by call and lane */
};

static bool counting;
static std::mutex totals_mutex;
static std::map<std::string, conflict_count> &totals() {
    static std::map<std::string, conflict_count> counts;
    return counts;
}

void count_conflicts(bool enabled) {
    std::lock_guard<std::mutex> lock(totals_mutex);
    counting = enabled;
    totals().clear();
}

conflict_count conflicts_of(const std::string &wrapper) {
    std::lock_guard<std::mutex> lock(totals_mutex);
    auto found = totals().find(wrapper);
    return found == totals().end() ? conflict_count() : found->second;
}

/* Cycles of one part of a request: the most distinct words in a bank. */
static uint64_t cycles_of(const uint32_t *addresses, int count, uint32_t size_bytes) {
    std::set<uint32_t> banks[32];
    for (int i = 0; i < count; i++)
        for (uint32_t at = addresses[i]; addresses[i] && at < addresses[i] + size_bytes; at += 4)
            banks[at / 4 % 32].insert(at / 4);
    size_t most = 0;
    for (const auto &words : banks)
        most = std::max(most, words.size());
    return most;
}

static void tally(const request &r) {
    int part = r.size_bytes == 16 ? 8 : r.size_bytes == 8 ? 16 : 32;
    uint64_t cycles = 0, parts = 0;
    for (int first = 0; first < WARP; first += part) {
        uint64_t taken = cycles_of(&r.addresses[(size_t)first], part, r.size_bytes);
        cycles += taken;
        parts += taken > 0;
    }
    std::lock_guard<std::mutex> lock(totals_mutex);
    conflict_count &total = totals()[r.op];
    total.requests++;
    total.cycles += cycles;
    total.conflicts += cycles - parts;
}

void note_access(const char *op, const void *call, uint32_t address, size_t size_bytes) {
    if (!counting)
        return;
    warp &w = *current->warp;
    if (!w.accesses)
        w.accesses = std::make_shared<access_log>();
    int lane = current->number % WARP;
    uint32_t pass = w.accesses->passes[{call, lane}]++;
    request &r = w.accesses->gathering[{call, pass}];
    if (r.addresses.empty())
        r = {op, (uint32_t)size_bytes, std::vector<uint32_t>(WARP), 0};
    r.addresses[(size_t)lane] = address;
    if (++r.num_lanes == WARP) {
        tally(r);
        w.accesses->gathering.erase({call, pass});
    }
}

void finish_accesses(warp &w) {
    if (!w.accesses)
        return;
    for (const auto &entry : w.accesses->gathering)
        tally(entry.second);
    w.accesses.reset();
}

} // namespace simt
