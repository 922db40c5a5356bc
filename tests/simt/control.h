/* control.h - what a test may ask of the shim. */
#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

namespace simt {

enum { NUM_SEEDS = 9 }; /* seeds 0 to 8: every order of threads with every landing of copies (fibers.h) */

/* set_seed - the schedule of the launches to come; the environment's SIMT_SEED until then, else 0. */
void set_seed(uint32_t seed);
uint32_t seed();

/* set_approximation_errors - results of exp2_approx and reciprocal_approx are off by so much, relative to them, from
 * now on (until then 0): a GPU's may be anything within the bounds that kernels/cuda/dev.h gives. */
void set_approximation_errors(float exp2, float reciprocal);

/* failure - what a launch throws on a kernel's bug, while catch_failures(true); else the process aborts. */
struct failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};
void catch_failures(bool enabled);

/* failure_of - the message with which launches in body fail, or "" when they do not. */
std::string failure_of(const std::function<void()> &body);

/* Bank conflicts of one wrapper ("ldmatrix4", "shared_load16", "cp_async16", ...): requests are warps' calls,
 * conflicts the cycles beyond those that the same bytes take without any. */
struct conflict_count {
    uint64_t requests, cycles, conflicts;
};

/* count_conflicts - start from 0, or stop (the default: counting is slow).  conflicts_of - so far. */
void count_conflicts(bool enabled);
conflict_count conflicts_of(const std::string &wrapper);

} // namespace simt
