/* planted.h - kernels with a bug on request, and the search for it under all schedules.  The bugs are those
 * that kernels of this kind really have; each must either be reported, or give other bits under some
 * schedule, or wrong ones.  BUG none must be right, with the same bits everywhere. */
#pragma once

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "control.h"

typedef std::vector<uint32_t> words;

/* What is known of a bug before it is run. */
struct planted {
    const char *name;
    std::function<words()> run; /* launches the kernel once, returns its output */
    const char *report;         /* part of the shim's message; NULL: no report, the bits tell */
};

/* Run under all seeds.  Returns the first report, or "wrong bits under n of 9 schedules", or "" when all was
 * as it should be. */
static inline std::string search(const std::function<words()> &run, const words &right) {
    int num_wrong = 0;
    for (uint32_t seed = 0; seed < simt::NUM_SEEDS; seed++) {
        simt::set_seed(seed);
        words got;
        std::string report = simt::failure_of([&] { got = run(); });
        if (!report.empty())
            return report;
        num_wrong += got != right;
    }
    std::string wrong = "wrong bits under " + std::to_string(num_wrong) + " of 9 schedules";
    return num_wrong ? wrong : "";
}

/* One line per bug; returns the number of those that were missed, or found by something else than expected.
 */
static inline int search_all(const std::vector<planted> &bugs, const words &right) {
    int num_missed = 0;
    for (const planted &bug : bugs) {
        std::string found = search(bug.run, right);
        const char *expected = bug.report ? bug.report : "wrong bits";
        bool ok = found.find(expected) != std::string::npos;
        num_missed += !ok;
        printf("%s  %s\n        %s\n", ok ? "found " : "MISSED", bug.name,
               found.empty() ? "nothing" : found.c_str());
    }
    return num_missed;
}

/* The right version gives these bits under all schedules, on 1 and on 3 OS threads. */
static inline int check_right(const char *name, const std::function<words()> &run, const words &right) {
    std::string found;
    for (const char *num_threads : {"1", "3"}) {
        setenv("SIMT_THREADS", num_threads, 1);
        found += search(run, right);
    }
    printf("%s  %s %s\n", found.empty() ? "right " : "WRONG ", name, found.c_str());
    return !found.empty();
}
