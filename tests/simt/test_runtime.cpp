/* test_runtime.cpp - the stand-in for the CUDA runtime itself: what it must let pass, and what it must catch.
 * Cases that need other settings, or that must die, run in a child: this program again, with the case's name.
 */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

extern "C" {
#include <cmocka.h>
}

#include "runtime.h"

namespace {

enum { NUM_SEEDS = 40, COUNT = 64 };

#define OK(call) assert_int_equal((call), cudaSuccess)

struct fixture {
    cudaStream_t a, b;
    cudaEvent_t event;
    float *x, *y; /* [COUNT] on the device */
};

fixture open_fixture(uint32_t seed) {
    fixture f;
    simt_stream_seed(seed);
    OK(cudaStreamCreateWithFlags(&f.a, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithPriority(&f.b, cudaStreamNonBlocking, -1));
    OK(cudaEventCreate(&f.event));
    OK(cudaMalloc((void **)&f.x, COUNT * sizeof(float)));
    OK(cudaMalloc((void **)&f.y, COUNT * sizeof(float)));
    return f;
}

void close_fixture(const fixture &f) {
    OK(cudaStreamDestroy(f.a));
    OK(cudaStreamDestroy(f.b));
    OK(cudaEventDestroy(f.event));
    OK(cudaFree(f.x));
    OK(cudaFree(f.y));
}

void fill(cudaStream_t stream, float *x, float value) {
    simt_submit(stream, [=] {
        for (int i = 0; i < COUNT; i++)
            x[i] = value;
    });
}

/* first_of - element 0, read by the host the right way. */
float first_of(const float *x) {
    float value;
    OK(cudaDeviceSynchronize());
    OK(cudaMemcpy(&value, x, sizeof value, cudaMemcpyDeviceToHost));
    return value;
}

void test_a_stream_keeps_its_order(void **) {
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        fixture f = open_fixture(seed);
        std::string order_a, order_b;
        for (char c = 'a'; c <= 'z'; c++) {
            simt_submit(f.a, [&, c] { order_a += c; });
            simt_submit(f.b, [&, c] { order_b += c; });
        }
        OK(cudaStreamSynchronize(f.a));
        assert_string_equal(order_a.c_str(), "abcdefghijklmnopqrstuvwxyz");
        OK(cudaStreamSynchronize(f.b));
        assert_string_equal(order_b.c_str(), order_a.c_str());
        close_fixture(f);
    }
}

/* Stream a fills x with 1, then with 2; stream b copies x to y in between.  What ends in y, under one seed.
 */
float hand_over(uint32_t seed, bool wait_to_read, bool wait_to_write) {
    fixture f = open_fixture(seed);
    fill(f.a, f.x, 1);
    OK(cudaEventRecord(f.event, f.a));
    if (wait_to_read)
        OK(cudaStreamWaitEvent(f.b, f.event, 0));
    OK(cudaMemcpyAsync(f.y, f.x, COUNT * sizeof(float), cudaMemcpyDeviceToDevice, f.b));
    OK(cudaEventRecord(f.event, f.b));
    if (wait_to_write)
        OK(cudaStreamWaitEvent(f.a, f.event, 0));
    fill(f.a, f.x, 2);
    OK(cudaStreamSynchronize(f.b));
    float result = first_of(f.y);
    close_fixture(f);
    return result;
}

void test_events_order_streams(void **) {
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++)
        assert_true(hand_over(seed, true, true) == 1);
}

/* The negative control of the whole instrument: a wait that is forgotten gives other bits under some seed. */
void test_a_missing_wait_shows(void **) {
    int early = 0, late = 0;
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        early += isnan(hand_over(seed, false, true)) != 0;
        late += hand_over(seed, true, false) == 2;
    }
    print_message("read before the write: %d of %d seeds; write before the read: %d\n", early, NUM_SEEDS,
                  late);
    assert_true(early >= NUM_SEEDS / 8);
    assert_true(late >= NUM_SEEDS / 8);
}

/* The extremes are not left to chance. */
void test_the_first_seeds_are_extremes(void **) {
    assert_true(hand_over(0, false, false) == 1);  /* at once: the program's order */
    assert_true(isnan(hand_over(1, false, true))); /* the reader alone */
    assert_true(hand_over(2, true, false) == 2);   /* everything else before the reader */
}

void test_event_queries(void **) {
    fixture f = open_fixture(1);
    OK(cudaEventQuery(f.event)); /* never recorded: nothing to wait for */
    fill(f.a, f.x, 1);
    OK(cudaEventRecord(f.event, f.a));
    cudaEvent_t end;
    float ms = -1;
    OK(cudaEventCreate(&end));
    simt_submit(f.a, [] { usleep(2000); });
    OK(cudaEventRecord(end, f.a));
    assert_int_equal(cudaEventElapsedTime(&ms, f.event, end), cudaErrorNotReady);
    OK(cudaEventSynchronize(end));
    OK(cudaEventElapsedTime(&ms, f.event, end));
    assert_true(ms >= 2 && ms < 1000);
    cudaEvent_t untimed;
    OK(cudaEventCreateWithFlags(&untimed, cudaEventDisableTiming));
    OK(cudaEventRecord(untimed, f.a));
    OK(cudaEventSynchronize(untimed));
    assert_int_equal(cudaEventElapsedTime(&ms, f.event, untimed), cudaErrorInvalidResourceHandle);
    (void)cudaGetLastError();
    OK(cudaEventDestroy(end));
    OK(cudaEventDestroy(untimed));
    close_fixture(f);
}

/* Waiting for work that is in progress: other streams go on, and the waiter is released at the end. */
void test_work_in_progress(void **) {
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        fixture f = open_fixture(seed);
        int polls = 0;
        bool other_ran = false;
        simt_submit_polled(f.a, [&] { return ++polls >= 5 && other_ran; });
        OK(cudaEventRecord(f.event, f.a));
        OK(cudaStreamWaitEvent(nullptr, f.event, 0));
        simt_submit(f.b, [&] { other_ran = true; });
        OK(cudaStreamSynchronize(nullptr));
        assert_true(polls >= 5 && other_ran);
        close_fixture(f);
    }
}

void test_queries_come_to_an_end(void **) {
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        fixture f = open_fixture(seed);
        for (int i = 0; i < 100; i++)
            fill(f.a, f.x, (float)i);
        int num_queries = 0;
        while (cudaStreamQuery(f.a) == cudaErrorNotReady)
            assert_true(++num_queries < 1000);
        (void)cudaGetLastError();
        assert_true(first_of(f.x) == 99);
        close_fixture(f);
    }
}

/* Ordinary memory is read at the call, page-locked memory when the copy runs. */
void test_when_copies_read(void **) {
    fixture f = open_fixture(1);
    std::vector<float> ordinary(COUNT, 1);
    float *locked;
    OK(cudaHostAlloc((void **)&locked, COUNT * sizeof(float), cudaHostAllocDefault));
    locked[0] = 1;
    OK(cudaMemcpyAsync(f.x, ordinary.data(), COUNT * sizeof(float), cudaMemcpyHostToDevice, f.a));
    OK(cudaMemcpyAsync(f.y, locked, COUNT * sizeof(float), cudaMemcpyHostToDevice, f.a));
    ordinary[0] = locked[0] = 2;
    assert_true(first_of(f.x) == 1);
    assert_true(first_of(f.y) == 2);
    OK(cudaFreeHost(locked));
    close_fixture(f);
}

void test_new_memory_is_nan(void **) {
    float as_f32;
    uint32_t bits;
    for (int round = 0; round < 2; round++) { /* the second time the memory was used before */
        fixture f = open_fixture(0);
        bits = 0;
        OK(cudaMemcpy(&bits, f.x + COUNT - 1, sizeof bits, cudaMemcpyDeviceToHost));
        memcpy(&as_f32, &bits, sizeof bits);
        assert_true(isnan(as_f32));
        assert_int_equal(bits & 0x7f807f80, 0x7f807f80); /* bf16: all exponent bits */
        assert_true((bits & 0x7f007f) != 0);             /* and not infinity */
        fill(f.a, f.x, 1);
        OK(cudaStreamSynchronize(f.a));
        close_fixture(f);
    }
}

void test_copies_check_their_ranges(void **) {
    fixture f = open_fixture(0);
    float host[COUNT] = {0};
    size_t size_bytes = sizeof host;
    assert_int_equal(cudaMemcpy(f.x, host, size_bytes + 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(host, host, size_bytes, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(f.x + 1, 0, size_bytes), cudaErrorInvalidValue);
    assert_int_equal(cudaFree(f.x + 1), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaSuccess); /* such errors are told once */
    OK(cudaMemcpy(f.x, host, size_bytes, cudaMemcpyHostToDevice));
    assert_true(simt_can_reach(f.x));
    assert_false(simt_can_reach(host));
    close_fixture(f);
}

/* --- graphs --- */

void add_one(cudaStream_t stream, float *x) {
    simt_submit(stream, [=] { x[0]++; });
}

/* What is captured does not run; each launch runs it, and records its events anew. */
void test_graphs_run_again(void **) {
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        fixture f = open_fixture(seed);
        cudaGraph_t graph;
        cudaGraphExec_t exec;
        fill(f.a, f.x, 5);
        OK(cudaStreamBeginCapture(f.a, cudaStreamCaptureModeThreadLocal));
        add_one(f.a, f.x);
        OK(cudaMemcpyAsync(f.y, f.x, sizeof(float), cudaMemcpyDeviceToDevice, f.a));
        OK(cudaEventRecordWithFlags(f.event, f.a, cudaEventRecordExternal));
        add_one(f.b, f.y + 1); /* another stream goes on */
        OK(cudaStreamEndCapture(f.a, &graph));
        OK(cudaGraphInstantiate(&exec, graph, 0));
        OK(cudaGraphDestroy(graph));
        assert_true(first_of(f.x) == 5);
        for (int launch = 1; launch <= 3; launch++) {
            OK(cudaGraphLaunch(exec, f.a));
            OK(cudaEventSynchronize(f.event));
            assert_true(first_of(f.y) == (float)(5 + launch));
        }
        OK(cudaGraphExecDestroy(exec));
        close_fixture(f);
    }
}

/* Waits, allocations, ordinary memory of the host, and waits for work outside: refused, and the capture is spoilt. */
void test_what_is_not_captured(void **) {
    fixture f = open_fixture(0);
    cudaEvent_t outside;
    float host[COUNT] = {0};
    void *memory;
    OK(cudaEventCreate(&outside));
    OK(cudaEventRecord(outside, f.b));
    const std::vector<std::function<cudaError_t()>> calls = {
        [&] { return cudaMalloc(&memory, 4); },
        [&] { return cudaFree(f.y); },
        [&] { return cudaHostAlloc(&memory, 4, cudaHostAllocDefault); },
        [&] { return cudaStreamSynchronize(f.a); },
        [&] { return cudaStreamQuery(f.a); },
        [&] { return cudaDeviceSynchronize(); },
        [&] { return cudaEventSynchronize(outside); },
        [&] { return cudaMemcpyAsync(f.x, host, sizeof host, cudaMemcpyHostToDevice, f.a); },
        [&] { return cudaMemcpyAsync(host, f.x, sizeof host, cudaMemcpyDeviceToHost, f.a); },
        [&] { return cudaMemcpy(f.x, host, sizeof host, cudaMemcpyHostToDevice); },
        [&] { return cudaStreamWaitEvent(f.a, outside, 0); },
    };
    for (const auto &call : calls) {
        cudaGraph_t graph;
        OK(cudaStreamBeginCapture(f.a, cudaStreamCaptureModeThreadLocal));
        const cudaError_t status = call();
        assert_true(status == cudaErrorStreamCaptureUnsupported || status == cudaErrorStreamCaptureIsolation);
        assert_int_equal(cudaStreamEndCapture(f.a, &graph), cudaErrorStreamCaptureInvalidated);
        (void)cudaGetLastError();
    }
    cudaGraph_t graph;
    OK(cudaStreamBeginCapture(f.a, cudaStreamCaptureModeThreadLocal));
    OK(cudaEventRecord(f.event, f.a)); /* nobody can ask for what is only an order inside the graph */
    assert_int_equal(cudaEventQuery(f.event), cudaErrorCapturedEvent);
    OK(cudaStreamEndCapture(f.a, &graph));
    OK(cudaGraphDestroy(graph));
    assert_int_equal(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeThreadLocal),
                     cudaErrorStreamCaptureUnsupported);
    (void)cudaGetLastError();
    OK(cudaStreamSynchronize(f.a)); /* afterwards all is as it was */
    OK(cudaEventDestroy(outside));
    close_fixture(f);
}

/* --- cases of the children --- */

float *device_floats(size_t count) {
    float *x = nullptr;
    return cudaMalloc((void **)&x, count * sizeof(float)) == cudaSuccess ? x : nullptr;
}

int child_touch() {
    volatile float *x = device_floats(COUNT);
    return (int)x[0]; /* must fault */
}

int child_touch_after_work() {
    float *x = device_floats(COUNT);
    fill(nullptr, x, 1);
    cudaDeviceSynchronize();
    *(volatile float *)x = 2; /* open while the work ran, closed again */
    return 0;
}

int write_at(int i) {
    float *x = device_floats(COUNT);
    simt_submit(nullptr, [=] { x[i] = 1; });
    return cudaDeviceSynchronize();
}

int child_write_last() {
    return write_at(COUNT - 1);
}

int child_write_past_the_end() {
    return write_at(COUNT);
}

int child_write_before() {
    return write_at(-1);
}

/* With 4 MiB: 3 fit, 2 more do not, and fit when the 3 are given back. */
int child_out_of_memory() {
    void *large = nullptr, *more = nullptr;
    size_t free_bytes = 0, total_bytes = 0;
    bool good = cudaMalloc(&large, 3 << 20) == cudaSuccess &&
                cudaMalloc(&more, 2 << 20) == cudaErrorMemoryAllocation && !more &&
                cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess &&
                cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess && total_bytes == 4 << 20 &&
                free_bytes < 1 << 20 && cudaFree(large) == cudaSuccess &&
                cudaMalloc(&more, 2 << 20) == cudaSuccess;
    return good ? 0 : 1;
}

/* The second launch fails, alone. */
int child_fault_launch() {
    int ran = 0;
    cudaError_t seen[3];
    for (int i = 0; i < 3; i++) {
        simt_submit(nullptr, [&] { ran++; });
        seen[i] = cudaGetLastError();
    }
    bool good = seen[0] == cudaSuccess && seen[1] == cudaErrorLaunchOutOfResources && seen[2] == cudaSuccess;
    return good && cudaDeviceSynchronize() == cudaSuccess && ran == 2 ? 0 : 1;
}

/* The first wait fails, and everything after it. */
int child_fault_wait() {
    void *x;
    bool good = cudaMalloc(&x, 4) == cudaSuccess && cudaDeviceSynchronize() == cudaErrorECCUncorrectable &&
                cudaStreamQuery(nullptr) == cudaErrorECCUncorrectable &&
                cudaMalloc(&x, 4) == cudaErrorECCUncorrectable &&
                cudaGetLastError() == cudaErrorECCUncorrectable &&
                cudaGetLastError() == cudaErrorECCUncorrectable;
    return good ? 0 : 1;
}

int child_fault_malloc() {
    void *x;
    bool good = cudaMalloc(&x, 4) == cudaSuccess && cudaMalloc(&x, 4) == cudaErrorMemoryAllocation &&
                cudaMalloc(&x, 4) == cudaSuccess;
    return good ? 0 : 1;
}

int child_no_gpu() {
    int count = -1;
    return cudaGetDeviceCount(&count) == cudaErrorNoDevice && count == 0 ? 0 : 1;
}

int child_a100() {
    cudaDeviceProp prop;
    bool good = cudaGetDeviceProperties(&prop, 0) == cudaSuccess && prop.major == 8 && prop.minor == 0 &&
                prop.multiProcessorCount == 108;
    return good ? 0 : 1;
}

/* A wait for something that never ends: only a stream that waits for itself can do that. */
int child_work_that_waits() {
    simt_submit(nullptr, [] { cudaDeviceSynchronize(); });
    return cudaDeviceSynchronize();
}

struct child {
    const char *name, *setting; /* setting: NAME=value, or NULL */
    int (*run)();
    int signal;          /* what it must die of; 0: it must return 0 */
    const char *message; /* what it must say */
};

const child children[] = {
    {"touch", nullptr, child_touch, SIGSEGV, "the host touched device memory"},
    {"touch_after_work", nullptr, child_touch_after_work, SIGSEGV, "the host touched device memory"},
    {"write_last", nullptr, child_write_last, 0, ""},
    {"write_past_the_end", nullptr, child_write_past_the_end, SIGABRT,
     "past the end of an allocation of 256 bytes"},
    {"write_before", nullptr, child_write_before, SIGABRT, "before the first allocation"},
    {"out_of_memory", "SIMT_MEMORY_BYTES=4M", child_out_of_memory, 0, ""},
    {"fault_launch", "SIMT_FAULT=launch:2", child_fault_launch, 0, ""},
    {"fault_wait", "SIMT_FAULT=wait:1", child_fault_wait, 0, ""},
    {"fault_malloc", "SIMT_FAULT=malloc:2", child_fault_malloc, 0, ""},
    {"no_gpu", "SIMT_GPUS=0", child_no_gpu, 0, ""},
    {"a100", "SIMT_ARCH=80", child_a100, 0, ""},
    {"work_that_waits", nullptr, child_work_that_waits, SIGABRT, "device work waits for device work"},
};

/* run_child - this program again; its wait status, and its standard error in text. */
int run_child(const child &c, std::string *text) {
    int ends[2], status = -1;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        if (c.setting)
            putenv((char *)c.setting);
        execl("/proc/self/exe", "test_runtime", c.name, (char *)nullptr);
        _exit(99);
    }
    close(ends[1]);
    char buffer[512];
    for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
        text->append(buffer, (size_t)got);
    close(ends[0]);
    waitpid(pid, &status, 0);
    return status;
}

void test_children(void **) {
    for (const child &c : children) {
        std::string text;
        int status = run_child(c, &text);
        bool as_expected = c.signal ? WIFSIGNALED(status) && WTERMSIG(status) == c.signal
                                    : WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (c.signal == SIGSEGV && WIFEXITED(status) && WEXITSTATUS(status) != 0)
            as_expected = true; /* a sanitizer turns the fault into an exit with its own report */
        if (!as_expected || text.find(c.message) == std::string::npos)
            fail_msg("case %s: status %x, said '%s'", c.name, status, text.c_str());
    }
}

int run_case(const char *name) {
    for (const child &c : children)
        if (!strcmp(c.name, name))
            return c.run();
    return 98;
}

} // namespace

int main(int argc, char **argv) {
    if (argc > 1)
        return run_case(argv[1]);
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stream_keeps_its_order),
        cmocka_unit_test(test_events_order_streams),
        cmocka_unit_test(test_a_missing_wait_shows),
        cmocka_unit_test(test_the_first_seeds_are_extremes),
        cmocka_unit_test(test_event_queries),
        cmocka_unit_test(test_work_in_progress),
        cmocka_unit_test(test_queries_come_to_an_end),
        cmocka_unit_test(test_when_copies_read),
        cmocka_unit_test(test_new_memory_is_nan),
        cmocka_unit_test(test_copies_check_their_ranges),
        cmocka_unit_test(test_graphs_run_again),
        cmocka_unit_test(test_what_is_not_captured),
        cmocka_unit_test(test_children),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
