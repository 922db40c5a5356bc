/* test_cuda_device.c - opening a GPU, its memory and copies, its errors and waits, on the stand-in.
 * Cases that need another machine, or that must die, run in a child: this program again, with the case's
 * name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cuda/cuda.h"
#include "kernels/device_cuda.h"
#include "kernels/ops.h"
#include "runtime.h"
#include "tests/check.h"

enum { NUM_SEEDS = 6 };

static struct device open_device(void) {
    struct device dev;
    struct err err = {""};
    if (device_open_cuda(&dev, 0, &err))
        fail_msg("%s", err.text);
    return dev;
}

static unsigned char pattern(size_t i, unsigned round) {
    return (unsigned char)(i * 7 + i / 251 + round);
}

/* Copies larger than the ring of slots, odd sizes, and a host buffer that is reused at once. */
static void copy_case(struct device *dev, size_t size_bytes, size_t offset) {
    unsigned char *host = xmalloc(size_bytes + 1), *back = xmalloc(size_bytes + 1);
    char *data = device_allocate(dev, size_bytes + offset), *copy = device_allocate(dev, size_bytes + offset);
    for (size_t i = 0; i < size_bytes; i++)
        host[i] = pattern(i, 0);
    dev->ops->upload(dev, data + offset, host, size_bytes);
    memset(host, 0xee, size_bytes); /* the upload may still be under way */
    dev->ops->copy(dev, copy + offset, data + offset, size_bytes);
    dev->ops->zero(dev, data, size_bytes + offset);
    back[size_bytes] = 0x55;
    dev->ops->download(dev, back, copy + offset, size_bytes);
    for (size_t i = 0; i < size_bytes; i++)
        if (back[i] != pattern(i, 0))
            fail_msg("%zu bytes: byte %zu is %d, expected %d", size_bytes, i, back[i], pattern(i, 0));
    assert_int_equal(back[size_bytes], 0x55);
    dev->ops->download(dev, back, data, size_bytes);
    for (size_t i = 0; i < size_bytes; i++)
        assert_int_equal(back[i], 0);
    device_release(dev, data, size_bytes + offset);
    device_release(dev, copy, size_bytes + offset);
    free(host), free(back);
}

static void test_copies(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 255, 256 * 1024, 256 * 1024 + 1, 1000000};
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        simt_stream_seed(seed);
        struct device dev = open_device();
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            copy_case(&dev, sizes[i], i % 2 * 3);
        if (seed == 1)
            copy_case(&dev, (70 << 18) + 5, 0); /* more than 64 slots of 256 KiB */
        device_close(&dev);
    }
    simt_stream_seed(0);
}

static void test_new_memory_is_zero(void **state) {
    (void)state;
    struct device dev = open_device();
    unsigned char *data = device_allocate(&dev, 1000), back[1000];
    assert_int_equal((uintptr_t)data % CUDA_ALIGN_BYTES, 0);
    dev.ops->download(&dev, back, data, sizeof back);
    for (size_t i = 0; i < sizeof back; i++)
        assert_int_equal(back[i], 0);
    device_release(&dev, data, 1000);
    unsigned char *host = device_allocate_host(&dev, 1000); /* the host may look here */
    assert_int_equal(host[999], 0);
    assert_true(simt_can_reach(host));
    device_release_host(&dev, host, 1000);
    device_close(&dev);
}

static void test_memory_that_does_not_fit(void **state) {
    (void)state;
    struct device dev = open_device();
    size_t total_bytes, free_bytes = device_memory_free(&dev, &total_bytes);
    assert_true(free_bytes <= total_bytes && total_bytes == (size_t)64 << 20);
    assert_null(device_allocate(&dev, free_bytes + 1));
    void *half = device_allocate(&dev, free_bytes / 2);
    assert_non_null(half); /* a refusal leaves the device usable */
    assert_true(device_memory_free(&dev, &total_bytes) <= free_bytes - free_bytes / 2);
    device_release(&dev, half, free_bytes / 2);
    assert_int_equal(device_memory_free(&dev, &total_bytes), free_bytes);
    device_close(&dev);
}

/* Scratch grows until it is reserved; a larger block does not pull the smaller one from under running work.
 */
static void test_scratch_grows(void **state) {
    (void)state;
    for (uint32_t seed = 0; seed < NUM_SEEDS; seed++) {
        simt_stream_seed(seed);
        struct device dev = open_device();
        char *small = cuda_scratch(&dev, 100), *result = device_allocate(&dev, 100), host[100];
        cuda_zero(&dev, small, 100);
        cuda_copy(&dev, result, small, 100);
        char *large = cuda_scratch(&dev, 1 << 20);
        assert_int_equal((uintptr_t)large % CUDA_ALIGN_BYTES, 0);
        assert_ptr_equal(cuda_scratch(&dev, 5), large);
        cuda_download(&dev, host, result, sizeof host);
        assert_int_equal(host[99], 0);
        cuda_reserve(&dev, 2 << 20);
        assert_non_null(cuda_scratch(&dev, 2 << 20));
        device_release(&dev, result, 100);
        device_close(&dev);
    }
    simt_stream_seed(0);
}

static void sleep_for_a_while(void *user) {
    usleep(*(const useconds_t *)user);
}

/* Seconds of an op are the GPU's, and none is lost when the host runs further ahead than the ring is long:
 * the first op, the only slow one, is long overtaken when it runs. */
static void test_op_seconds(void **state) {
    (void)state;
    enum { NUM_OPS = 2500 };
    useconds_t long_us = 100000;
    simt_stream_seed(1);
    struct device dev = open_device();
    char *data = device_allocate(&dev, 16);
    for (int i = 0; i < NUM_OPS; i++) {
        enum op_id id = i == 0 ? OP_ROPE : OP_CAST;
        cuda_op_begin(&dev, id);
        if (i == 0)
            assert_int_equal(cudaLaunchHostFunc(cuda_stream(&dev), sleep_for_a_while, &long_us), cudaSuccess);
        cuda_zero(&dev, data, 16);
        cuda_op_end(&dev, id);
    }
    device_synchronize(&dev);
    double seconds = dev.counts.seconds[OP_CAST];
    assert_true(seconds > 0 && seconds < 60);
    assert_true(dev.counts.seconds[OP_ROPE] >= 0.1);
    assert_true(dev.counts.seconds[OP_ADD] == 0);
    cuda_time_ops(&dev, false);
    cuda_op_begin(&dev, OP_CAST);
    cuda_op_end(&dev, OP_CAST);
    device_synchronize(&dev);
    assert_true(dev.counts.seconds[OP_CAST] == seconds);
    device_release(&dev, data, 16);
    device_close(&dev);
    simt_stream_seed(0);
}

/* A wait calls the hook every few milliseconds; what the hook needs to end the wait here is to be called. */
struct hooked {
    int calls;
    double waited_s;
};

static void count_calls(void *user, double waited_s) {
    struct hooked *hooked = user;
    hooked->calls++;
    hooked->waited_s = waited_s;
}

static void test_waiting_calls_the_hook(void **state) {
    (void)state;
    simt_stream_seed(1);
    struct device dev = open_device();
    struct hooked hooked = {0, 0};
    useconds_t short_us = 10000;
    dev.while_waiting = count_calls;
    dev.waiting_user = &hooked;
    for (int i = 0; i < 80; i++)
        assert_int_equal(cudaLaunchHostFunc(cuda_stream(&dev), sleep_for_a_while, &short_us), cudaSuccess);
    device_synchronize(&dev);
    assert_true(hooked.calls >= 3);
    assert_true(hooked.waited_s > 0.05 && hooked.waited_s < 60);
    device_close(&dev);
    simt_stream_seed(0);
}

static void test_description(void **state) {
    (void)state;
    char text[400];
    device_describe_cuda(0, text, sizeof text);
    assert_non_null(strstr(text, "pretend NVIDIA H100, GPU-00102030-4050-6070-8090-a0b0c0d0e0f0, 0.1 GiB"));
    assert_non_null(strstr(text, "driver for CUDA 13.0, runtime 13.0, cuBLASLt 13.1.0"));
    device_describe_cuda(99, text, sizeof text);
    assert_non_null(strstr(text, "GPU 99 asked for, but this process sees 8"));
}

/* --- children --- */

/* child_open - what opening says; 0 when it succeeds. */
static int child_open(void) {
    struct device dev;
    struct err err = {""};
    if (device_open_cuda(&dev, 0, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    device_close(&dev);
    return 0;
}

static int child_synchronize(void) {
    struct device dev;
    struct err err = {""};
    if (device_open_cuda(&dev, 0, &err))
        return 3;
    device_synchronize(&dev);
    return 0;
}

static int child_more_than_reserved(void) {
    struct device dev;
    struct err err = {""};
    if (device_open_cuda(&dev, 0, &err))
        return 3;
    cuda_reserve(&dev, 1000);
    cuda_scratch(&dev, 1000);
    cuda_scratch(&dev, 1001);
    return 0;
}

/* A V100 computes in f16 and f32; bf16 is refused by name, before the first product dies of it. */
static int child_computes(void) {
    struct device dev;
    struct err err = {""};
    if (device_open_cuda(&dev, 0, &err))
        return 3;
    int taken = !cuda_check_compute(&dev, DTYPE_F16, "train.compute", &err) &&
                !cuda_check_compute(&dev, DTYPE_F32, "train.compute", &err);
    int refused = cuda_check_compute(&dev, DTYPE_BF16, "train.compute", &err);
    fprintf(stderr, "%s\n", err.text);
    device_close(&dev);
    return !taken ? 3 : refused ? 2 : 0;
}

/* attend - two rows of one head of this width, forward and backward. */
static void attend(struct device *dev, int width) {
    enum { ROWS = 2 };
    const size_t row_bytes = sizeof(uint16_t) * (size_t)width;
    char *memory = device_allocate(dev, 64 + ROWS * (2 * sizeof(float) + 8 * row_bytes));
    struct attention_mask mask = {.first_key = tensor_1d(memory, DTYPE_I32, ROWS)};
    struct attention_args args = {.num_heads = 1, .num_kv_heads = 1, .head_dim = width, .scale = 1};
    struct tensor lse = tensor_2d(memory + 32, DTYPE_F32, ROWS, 1);
    struct tensor qkv = tensor_3d(memory + 64, DTYPE_F16, ROWS, 3, width);
    struct tensor dqkv = tensor_3d(memory + 64 + 3 * ROWS * row_bytes, DTYPE_F16, ROWS, 3, width);
    struct tensor out = tensor_3d(memory + 64 + 6 * ROWS * row_bytes, DTYPE_F16, ROWS, 1, width);
    dev->ops->zero(dev, memory, 64 + ROWS * (2 * sizeof(float) + 8 * row_bytes));
    op_attention_forward(dev, out, lse, qkv, &mask, &args);
    op_attention_backward(dev, dqkv, out, out, lse, qkv, &mask, &args, NULL);
    device_synchronize(dev);
}

/* A T4 gives a block 64 KiB of shared memory: the plain kernels need more for the widest heads. */
static int child_heads(void) {
    struct device dev = open_device();
    attend(&dev, 128);
    attend(&dev, 226);
    return 0;
}

static int child_wide_heads(void) {
    struct device dev = open_device();
    attend(&dev, 256);
    return 0;
}

static int child_host_touches(void) {
    struct device dev;
    struct err err = {""};
    if (device_open_cuda(&dev, 0, &err))
        return 3;
    return *(volatile char *)device_allocate(&dev, 100);
}

struct child {
    const char *name, *setting;
    int (*run)(void);
    int exit_code; /* -1: it must not end by itself with 0 */
    const char *message;
};

static const struct child CHILDREN[] = {
    {"open", "SIMT_GPUS=1", child_open, 0, ""},
    {"a100", "SIMT_ARCH=80", child_open, 0, ""},
    {"no_driver", "SIMT_DRIVER=0", child_open, 2, "no NVIDIA driver on this machine"},
    {"old_driver", "SIMT_DRIVER=12040", child_open, 2, "for CUDA 12.4 at most, this program needs 13.0"},
    {"no_gpu", "SIMT_GPUS=0", child_open, 2, "no GPU is visible (CUDA_VISIBLE_DEVICES is"},
    {"v100", "SIMT_ARCH=70", child_open, 0, ""},
    {"a100_types", "SIMT_ARCH=80", child_computes, 0, ""},
    {"v100_types", "SIMT_ARCH=70", child_computes, 2,
     "'train.compute' is bf16, which GPU 'pretend NVIDIA V100' (compute capability 7.0) does not compute in: set it to f16"},
    {"t4_heads", "SIMT_ARCH=75", child_heads, 0, ""},
    {"t4_wide_heads", "SIMT_ARCH=75", child_wide_heads, 1,
     "attention on cuda with heads of 256 takes 69 KiB of shared memory for a block, and this GPU has 64: another GPU does it"},
    {"v100_wide_heads", "SIMT_ARCH=70", child_wide_heads, 0, ""},
    {"old_gpu", "SIMT_ARCH=60", child_open, 2, "has compute capability 6.0, this program needs 7.0 or later"},
    {"ecc", "SIMT_FAULT=wait:1", child_synchronize, 1,
     "fatal: CUDA: waiting for the GPU: uncorrectable ECC error (cudaErrorECCUncorrectable) on pretend "
     "NVIDIA H100, "
     "GPU-00102030-4050-6070-8090-a0b0c0d0e0f0: the hardware failed"},
    {"failed_kernel", "SIMT_FAULT=wait:1:719", child_synchronize, 1, "a kernel failed, now or earlier"},
    {"reserved", NULL, child_more_than_reserved, 1,
     "an op asks for 1001 bytes of scratch, 1000 are reserved"},
    {"touch", NULL, child_host_touches, -1, "the host touched device memory"},
};

/* run_child - this program again; its wait status, and the start of its standard error in text. */
static int run_child(const struct child *child, char *text, size_t room_bytes) {
    int ends[2], status = -1;
    size_t used = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        if (child->setting)
            putenv((char *)(uintptr_t)child->setting);
        execl("/proc/self/exe", "test_cuda_device", child->name, (char *)NULL);
        _exit(99);
    }
    close(ends[1]);
    for (ssize_t got; (got = read(ends[0], text + used, room_bytes - 1 - used)) > 0;)
        used += (size_t)got;
    text[used] = '\0';
    close(ends[0]);
    waitpid(pid, &status, 0);
    return status;
}

static void test_children(void **state) {
    (void)state;
    char text[8192];
    for (size_t i = 0; i < sizeof CHILDREN / sizeof CHILDREN[0]; i++) {
        const struct child *child = &CHILDREN[i];
        int status = run_child(child, text, sizeof text);
        bool as_expected =
            child->exit_code < 0 ? status != 0 : WIFEXITED(status) && WEXITSTATUS(status) == child->exit_code;
        if (!as_expected || !strstr(text, child->message))
            fail_msg("case %s: status %x, said '%s'", child->name, (unsigned)status, text);
        /* A fatal error is one line. */
        if (child->exit_code == 1)
            assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    }
}

int main(int argc, char **argv) {
    setenv("SIMT_MEMORY_BYTES", "64M", 1); /* before the first call of the runtime, which reads it */
    for (size_t i = 0; argc > 1 && i < sizeof CHILDREN / sizeof CHILDREN[0]; i++)
        if (strcmp(CHILDREN[i].name, argv[1]) == 0)
            return CHILDREN[i].run();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_new_memory_is_zero),
        cmocka_unit_test(test_memory_that_does_not_fit),
        cmocka_unit_test(test_scratch_grows),
        cmocka_unit_test(test_op_seconds),
        cmocka_unit_test(test_waiting_calls_the_hook),
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_children),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
