/* failure.cpp - what a test may set, and how a kernel's bug is told. */
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "control.h"
#include "fibers.h"

namespace simt {

/* --- Settings. */

uint32_t env_number(const char *name, uint32_t otherwise) {
    const char *text = getenv(name);
    return text && *text ? (uint32_t)strtoul(text, nullptr, 10) : otherwise;
}

static uint32_t &seed_setting() {
    static uint32_t value = env_number("SIMT_SEED", 0);
    return value;
}

static bool &catch_setting() {
    static bool value = false;
    return value;
}

void set_seed(uint32_t value) {
    seed_setting() = value;
}

uint32_t seed() {
    return seed_setting();
}

void catch_failures(bool enabled) {
    catch_setting() = enabled;
}

std::string failure_of(const std::function<void()> &body) {
    std::string message;
    bool before = catch_setting();
    catch_failures(true);
    try {
        body();
    } catch (const failure &caught) {
        message = caught.what();
    }
    catch_failures(before);
    return message;
}

/* --- Reports. */

void report(const std::string &message) {
    if (catch_setting())
        throw failure(message); /* as far as fiber_main, then on from the launch */
    fprintf(stderr, "%s\n", message.c_str());
    abort();
}

static std::string place_of(const thread &t) {
    char text[160];
    snprintf(text, sizeof text, "block %u,%u,%u thread %u,%u,%u", t.block->index.x, t.block->index.y,
             t.block->index.z, t.index.x, t.index.y, t.index.z);
    return text;
}

void fail(const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    std::string kernel = kernel_name(current->block->cluster->shape->kernel);
    report(std::string("simt: ") + text + " (kernel " + kernel + ", " + place_of(*current) + ")");
}

static bool same_reason(const thread &a, const thread &b) {
    return a.block == b.block && a.reason.object == b.reason.object && a.reason.what == b.reason.what &&
           a.reason.detail == b.reason.detail;
}

/* One line for each run of threads that wait for the same thing. */
void report_deadlock(const cluster &c) {
    std::string text = "simt: deadlock in kernel " + kernel_name(c.shape->kernel);
    for (size_t i = 0, end; i < c.threads.size(); i = end) {
        const thread &first = c.threads[i];
        for (end = i + 1; end < c.threads.size(); end++)
            if (c.threads[end].run_state != first.run_state ||
                (first.run_state == WAITING && !same_reason(first, c.threads[end])) ||
                c.threads[end].block != first.block)
                break;
        text += "\n    " + place_of(first);
        if (end - i > 1)
            text += " and the " + std::to_string(end - i - 1) + " after it";
        if (first.run_state == FINISHED) {
            text += " finished";
            continue;
        }
        text += std::string(" wait in ") + first.reason.what;
        if (first.reason.describe)
            text += ": " + first.reason.describe(first);
    }
    report(text);
}

} // namespace simt
