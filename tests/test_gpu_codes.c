/* test_gpu_codes.c - a job computes on the GPUs it pays for: the code that a GPU needs, what a program says
 * it holds, and the GPUs that a process was given against those it sees. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/device_cuda.h"
#include "slurm/gpu_codes.h"
#include "slurm/program.h"
#include "tests/check.h"
#include "train/ranks/gpu_allocation.h"

static void test_names(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int arch;
    } names[] = {{"V100 SXM2", 70},
                 {"A100 SXM4", 80},
                 {"H100 SXM5", 90},
                 {"NVIDIA A100-SXM4-80GB", 80},
                 {"NVIDIA H100 80GB HBM3", 90},
                 {"NVIDIA GH200 480GB", 90},
                 {"h100", 90},
                 {"Tesla V100-SXM2-32GB", 70},
                 {"NVIDIA L40S", 89},
                 {"NVIDIA L4", 89},
                 {"NVIDIA B200", 100},
                 {"MI300A", 0},
                 {"none, an empty file", 0},
                 {"XA100", 0},
                 {"A1000", 0},
                 {"", 0},
                 {NULL, 0}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (gpu_arch(names[i].name) != names[i].arch)
            fail_msg("'%s' is %d", names[i].name, gpu_arch(names[i].name));
}

static void test_cover(void **state) {
    (void)state;
    static const struct {
        const char *codes;
        int arch;
        enum gpu_cover cover;
    } cases[] = {{"sm_80 compute_80 sm_90a", 80, GPU_COVER_CODE},
                 {"sm_80 compute_80 sm_90a", 90, GPU_COVER_CODE},
                 {"sm_80 compute_80 sm_90a", 70, GPU_COVER_NONE},
                 {"sm_80 compute_80 sm_90a", 86, GPU_COVER_CODE}, /* the same major number */
                 {"sm_80 compute_80 sm_90a", 100, GPU_COVER_PTX},
                 {"sm_80", 100, GPU_COVER_NONE},
                 {"sm_86", 80, GPU_COVER_NONE},
                 {"sm_90", 90, GPU_COVER_NONE},
                 {"sm_100a", 100, GPU_COVER_CODE},
                 {"sm_100a", 103, GPU_COVER_NONE},
                 {"sm_70", 75, GPU_COVER_CODE},
                 {"compute_90", 80, GPU_COVER_NONE},
                 {"", 80, GPU_COVER_NONE},
                 {"host", 80, GPU_COVER_NONE},
                 {"sm_ sm_x compute_", 80, GPU_COVER_NONE}};
    char room[16];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (gpu_codes_cover(cases[i].codes, cases[i].arch) != cases[i].cover)
            fail_msg("'%s' on %d gives %d", cases[i].codes, cases[i].arch,
                     (int)gpu_codes_cover(cases[i].codes, cases[i].arch));
    assert_string_equal(gpu_code_name(90, room), "sm_90a");
    assert_string_equal(gpu_code_name(70, room), "sm_70");
}

/* fake - an executable that answers with this; its path, malloc'ed. */
static char *fake(const char *folder, const char *script) {
    char *path = xasprintf("%s/atelier", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", script);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
    return path;
}

static void test_program(void **state) {
    (void)state;
    static const struct {
        const char *script, *codes, *message; /* message NULL: it is read */
    } cases[] = {
        {"[ \"$*\" = '--version --json' ] && echo '{\"version\": \"1.2\", \"cuda\": true, \"gpu_codes\": "
         "[\"sm_80\", \"sm_90a\"]}'",
         "sm_80 sm_90a", NULL},
        {"echo '{\"version\": \"1.2\", \"cuda\": false, \"gpu_codes\": []}'", "", NULL},
        {"echo 'atelier 0.2.0'", "", "does not say what it was built for"},
        {"echo '{\"version\": \"1.2\"}'", "", "does not say what it was built for"},
        {"echo '{\"version\": \"1.2\", \"gpu_codes\": [5]}'", "", "does not say what it was built for"},
        {"echo 'libcublasLt.so.12: cannot open shared object file' >&2; exit 127", "",
         "where it needs modules, load them first: "},
    };
    char *folder = test_folder("program");
    struct program_facts facts;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = {""};
        char *path = fake(folder, cases[i].script);
        int status = program_ask(&facts, path, &err);
        if (status != (cases[i].message ? -1 : 0) ||
            (cases[i].message && !strstr(err.text, cases[i].message)))
            fail_msg("case %zu: %d, %s", i, status, err.text);
        if (!cases[i].message) {
            assert_string_equal(facts.version, "1.2");
            assert_string_equal(facts.gpu_codes, cases[i].codes);
        }
        free(path);
    }
    struct err err = {""};
    assert_int_equal(program_ask(&facts, "/nowhere/atelier", &err), -1);
    program_self(&facts);
    assert_string_equal(facts.version, ATELIER_VERSION);
    assert_string_equal(facts.gpu_codes, device_codes_cuda());
    free(folder);
}

/* The environment of a job on a node, and what CUDA shows there. */
static const struct {
    const char *on_node, *job_gpus, *asked, *visible, *gpu;
    struct gpu_seen seen;
    const char *message; /* NULL: all is well */
} ALLOCATIONS[] = {
    {"4", NULL, NULL, "0,1,2,3", NULL, {4, 80, "A100"}, NULL},
    {"4", NULL, "4", "0,1,2,3", "A100 SXM4", {4, 80, "A100"}, NULL},
    {"4", NULL, NULL, NULL, NULL, {4, 80, "A100"}, NULL}, /* confined by cgroups alone */
    {"4", NULL, NULL, "2", NULL, {1, 80, "A100"}, NULL},  /* the launcher gave each rank its own */
    {"4", NULL, NULL, "GPU-aa,GPU-bb,GPU-cc,GPU-dd", NULL, {4, 80, "A100"}, NULL},
    {NULL, "0-3", NULL, NULL, NULL, {4, 80, "A100"}, NULL},
    {"4", NULL, NULL, "NoDevFiles", NULL, {4, 80, "A100"}, NULL},
    {"4", NULL, NULL, NULL, "none, an empty file", {4, 80, "A100"}, NULL},
    {NULL, NULL, NULL, "0", NULL, {1, 80, "A100"}, NULL}, /* no GPUs of Slurm */
    {"4", NULL, NULL, "0,1,2,3", NULL, {3, 80, "A100"}, "names 4, and CUDA sees 3 ('A100')"},
    {"4", NULL, NULL, NULL, NULL, {8, 80, "A100"}, "Slurm allocated 4 GPUs on 'n1' (SLURM_GPUS_ON_NODE)"},
    {"4", NULL, NULL, NULL, NULL, {3, 80, "A100"}, "CUDA sees 3"},
    {"2", NULL, NULL, "0,1,2,3", NULL, {4, 80, "A100"}, "Slurm allocated 2 GPUs on 'n1'"},
    {NULL, "0,1", NULL, NULL, NULL, {4, 80, "A100"}, "(SLURM_JOB_GPUS)"},
    {NULL, NULL, "4", NULL, NULL, {2, 80, "A100"}, "(ATELIER_GPUS_PER_NODE)"},
    {"2", NULL, "4", NULL, NULL, {2, 80, "A100"}, "was submitted for 4 GPUs on a node, but 'n1' has 2"},
    {"4",
     NULL,
     "4",
     "0,1,2,3",
     "H100 SXM5",
     {4, 80, "NVIDIA A100"},
     "submitted for 'H100 SXM5' (compute capability 9.0), but 'n1' has 'NVIDIA A100' (8.0)"},
};

static void put_variable(const char *name, const char *value) {
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

static void test_allocation(void **state) {
    (void)state;
    for (int in_job = 1; in_job >= 0; in_job--) {
        put_variable("SLURM_JOB_ID", in_job ? "5" : NULL);
        for (size_t i = 0; i < sizeof ALLOCATIONS / sizeof ALLOCATIONS[0]; i++) {
            struct err err = {""};
            put_variable("SLURM_GPUS_ON_NODE", ALLOCATIONS[i].on_node);
            put_variable("SLURM_JOB_GPUS", ALLOCATIONS[i].job_gpus);
            put_variable("SLURM_STEP_GPUS", NULL);
            put_variable("ATELIER_GPUS_PER_NODE", ALLOCATIONS[i].asked);
            put_variable("CUDA_VISIBLE_DEVICES", ALLOCATIONS[i].visible);
            put_variable("ATELIER_GPU", ALLOCATIONS[i].gpu);
            struct gpu_allocation allocation = gpu_allocation_read();
            int status = gpu_allocation_check(&allocation, &ALLOCATIONS[i].seen, "n1", &err);
            /* Outside a job nobody gave any: what is left in the environment means nothing. */
            const char *message = in_job ? ALLOCATIONS[i].message : NULL;
            if (status != (message ? -1 : 0) || (message && !strstr(err.text, message)))
                fail_msg("case %zu: %d, %s", i, status, err.text);
        }
    }
    put_variable("SLURM_GPUS_ON_NODE", NULL);
    put_variable("SLURM_JOB_GPUS", NULL);
    put_variable("ATELIER_GPUS_PER_NODE", NULL);
    put_variable("CUDA_VISIBLE_DEVICES", NULL);
    put_variable("ATELIER_GPU", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_cover),
        cmocka_unit_test(test_program),
        cmocka_unit_test(test_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
