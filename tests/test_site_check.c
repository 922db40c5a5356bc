/* test_site_check.c - how a profile says that jobs are launched, and where its values come from: what is
 * refused, what the facts cover, whose GPUs a name means; every value of Jean Zay's profile has a source. */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slurm/site_check.h"
#include "slurm/site_compare.h"
#include "slurm/srun_option.h"
#include "tests/check.h"

/* site_fact_covers - whether the fact is about that path: as its pattern says, or an entry and all in it. */
static bool site_fact_covers(const struct site_fact *fact, const char *path) {
    char *below = xasprintf("%s.*", fact->about);
    bool covers = fnmatch(fact->about, path, 0) == 0 || fnmatch(below, path, 0) == 0;
    free(below);
    return covers;
}

static int load(struct site *site, const char *text, struct err *err) {
    return site_load_text(site, text, strlen(text), "s.yaml", err);
}

/* --- refusals --- */

static const struct {
    const char *text, *message;
} REFUSALS[] = {
    {"name: x\npartitions: [{name: p, gres: gpu:4}]\n",
     "partition 'p': gres 'gpu:4' is not 'gpu' or 'gpu:TYPE'"},
    {"name: x\npartitions: [{name: p, gres: 'gpu:h100:4'}]\n", "gres 'gpu:h100:4' is not"},
    {"name: x\npartitions: [{name: p, gres: 'mic:a'}]\n", "gres 'mic:a' is not"},
    {"name: x\npartitions: [{name: p, gres: 'gpu:a b'}]\n", "gres 'gpu:a b' is not"},
    {"name: x\npartitions: [{name: p, mem: lots}]\n", "'lots' is not an amount of memory"},
    {"name: x\npartitions: [{name: p, mem: 4GB}]\n", "'4GB' is not an amount of memory"},
    {"name: x\npartitions: [{name: p, mem: 400G, mem_per_cpu: 4G}]\n",
     "partition 'p': only one of mem, mem_per_cpu and mem_per_gpu"},
    {"name: x\npartitions: [{name: p, gpu_vendor: ati}]\n", "'gpu_vendor' is 'ati', expected"},
    {"name: x\npartitions: [p]\nsrun_options: [-n4]\n",
     " line 3 column 1: srun_options: '-n4' is not an option"},
    {"name: x\npartitions: [p]\nsrun_options: [--ntasks=3]\n",
     "'--ntasks' of srun: that is set by slurm.ranks_per_node"},
    {"name: x\npartitions: [p]\nsrun_options: [--nta=3]\n", "is set by slurm.ranks_per_node"},
    {"name: x\npartitions: [p]\nsrun_options: ['--cpu-bind cores']\n", "is not one option of srun"},
    {"name: x\npartitions: [{name: p, srun_options: [--mpi=none]}]\n",
     "partition 'p': srun_options: '--mpi=none': '--mpi' of srun: that is set by slurm.mpi"},
    {"name: x\npartitions: [p]\nlauncher: ['apptainer exec --nv x.sif']\n", "write a list of words, such as"},
    {"name: x\npartitions: [p]\nlauncher: [--nv, x.sif]\n", "'launcher' begins with '--nv'"},
    {"name: x\npartitions: [{name: p, launcher: [a, '']}]\n", "a word of 'launcher' is empty"},
    {"name: x\npartitions: [p]\nfacts: [{about: partitions.q.memory_gb, source: s}]\n",
     " line 3 column 1: a fact is about 'partitions.q.memory_gb', which is not in this profile"},
    {"name: x\npartitions: [p]\nfacts: [{about: partitions.p.memory_gb}]\n",
     "the fact about 'partitions.p.memory_gb' has no source"},
    {"name: x\npartitions: [p]\nfacts: [{about: name, source: s, basis: sure}]\n",
     "'basis' is 'sure', expected"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        struct site site;
        struct err err = {""};
        if (load(&site, REFUSALS[i].text, &err) == 0)
            fail_msg("loads, but should not: %s", REFUSALS[i].text);
        if (!strstr(err.text, REFUSALS[i].message))
            fail_msg("for\n%s\nexpected: %s\ngot:      %s", REFUSALS[i].text, REFUSALS[i].message, err.text);
    }
}

/* What is not refused: the controls of the list above. */
static void test_accepted(void **state) {
    (void)state;
    static const char TEXT[] =
        "name: x\n"
        "partitions:\n"
        "  - {name: p, gres: 'gpu:h100', mem: '0', srun_options: [--cpu-bind=cores, --network=sn_all],\n"
        "     launcher: [singularity, exec, --nv, '/images/a b.sif']}\n"
        "  - {name: q, gres: gpu, mem_per_cpu: 4000M}\n"
        "  - {name: r, mem_per_gpu: 100G}\n"
        "srun_options: [--export=ALL, --exclusive, --label]\n"
        "launcher: [/usr/bin/apptainer, exec, x.sif]\n"
        "module_path: [/opt/modules]\n"
        "facts:\n"
        "  - {about: 'partitions.*.mem*', source: s}\n"
        "  - {about: partitions.q, source: s, basis: seen, date: 2026-11}\n"
        "  - {about: mpi, source: s, note: not known}\n";
    struct site site;
    struct err err = {""};
    if (load(&site, TEXT, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(site.partitions[0].gres, "gpu:h100");
    assert_string_equal(site.partitions[0].launcher[3].text, "/images/a b.sif");
    assert_string_equal(site.partitions[1].mem_per_cpu, "4000M");
    assert_int_equal(site.num_srun_options, 3);
    assert_int_equal(site.facts[0].basis, FACT_UNSURE);
    assert_int_equal(site.facts[1].basis, FACT_SEEN);
    site_release(&site);
}

/* --- every value of the shipped profile has a source --- */

struct coverage {
    const struct site *site;
    int num_values, num_bare;
    char first_bare[200];
};

/* is_ours - what says nothing about the machine. */
static bool is_ours(const char *path) {
    static const char *const names[] = {"name",
                                        "description",
                                        "checked",
                                        "default_partition",
                                        "energy.factor_name",
                                        "energy.factor_source",
                                        "energy.pue_source"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], path) == 0)
            return true;
    return length > 4 && strcmp(path + length - 4, ".use") == 0;
}

static void check_covered(void *context, const struct site_value *value) {
    struct coverage *coverage = context;
    bool is_covered = false;
    if (value->is_default || !value->text[0] || is_ours(value->path))
        return;
    coverage->num_values++;
    for (int i = 0; i < coverage->site->num_facts; i++)
        is_covered = is_covered || site_fact_covers(&coverage->site->facts[i], value->path);
    if (!is_covered && coverage->num_bare++ == 0)
        snprintf(coverage->first_bare, sizeof coverage->first_bare, "%s", value->path);
}

static void test_sources(void **state) {
    (void)state;
    struct site site;
    struct err err = {""};
    if (site_load(&site, "slurm/sites/jeanzay.yaml", &err) != 0)
        fail_msg("%s", err.text);
    struct coverage coverage = {.site = &site};
    site_each_value(&site, check_covered, &coverage);
    if (coverage.num_bare > 0)
        fail_msg("%d of %d values have no source, '%s' is the first", coverage.num_bare, coverage.num_values,
                 coverage.first_bare);
    assert_true(coverage.num_values > 150);
    for (int i = 0; i < site.num_facts; i++)
        if (strlen(site.facts[i].date) < 4)
            fail_msg("the fact about '%s' has no date", site.facts[i].about);
    /* Control: without its last source a value is bare. */
    site.num_facts /= 2;
    coverage = (struct coverage){.site = &site};
    site_each_value(&site, check_covered, &coverage);
    assert_true(coverage.num_bare > 0);
    site.num_facts *= 2;
    site_release(&site);
}

/* module_at - place of the first module that begins so, or -1. */
static int module_at(const struct site_partition *partition, const char *begin) {
    for (int i = 0; i < partition->num_modules; i++)
        if (strncmp(partition->modules[i].text, begin, strlen(begin)) == 0)
            return i;
    return -1;
}

/* What was learnt of the machine in November 2026. */
static void test_jeanzay(void **state) {
    (void)state;
    struct site site;
    struct err err = {""};
    assert_int_equal(site_load(&site, "slurm/sites/jeanzay.yaml", &err), 0);
    for (int i = 0; i < site.num_partitions; i++) {
        const struct site_partition *partition = &site.partitions[i];
        int mpi = module_at(partition, "openmpi/"), compiler = module_at(partition, "gcc/");
        if (mpi < 0)
            continue;
        assert_true(compiler >= 0 && compiler < mpi);
        assert_true(module_at(partition, "hdf5/") > mpi);
        assert_int_equal(module_at(partition, "nccl/") > mpi, partition->gpus_per_node > 0);
    }
    assert_true(site_partition(&site, "gpu_p2s", &err)->memory_gb == 360);
    assert_true(site_partition(&site, "gpu_p2l", &err)->memory_gb == 720);
    const struct site_partition *h100 = site_partition(&site, "gpu_p6", &err);
    bool has_gc = false;
    for (int i = 0; i < h100->num_qos; i++)
        has_gc = has_gc || (strcmp(h100->qos[i].name, "qos_gpu_h100-gc") == 0 && h100->qos[i].on_request);
    assert_true(has_gc);
    static const char *const unsure[] = {"storage.scratch.quota_gb",
                                         "partitions.gpu_p5.qos.qos_gpu_a100-t3.max_gpus",
                                         "partitions.gpu_p6.qos.qos_gpu_h100-t4.max_gpus",
                                         "mpi",
                                         "billing.whole_nodes",
                                         "partitions.gpu_p6.inter_gb_s"};
    for (size_t u = 0; u < sizeof unsure / sizeof unsure[0]; u++) {
        bool is_marked = false;
        for (int i = 0; i < site.num_facts; i++)
            is_marked = is_marked ||
                        (site.facts[i].basis == FACT_UNSURE && site_fact_covers(&site.facts[i], unsure[u]));
        if (!is_marked)
            fail_msg("'%s' should be marked as unsure", unsure[u]);
    }
    site_release(&site);
}

/* --- whose GPUs --- */

static void test_vendor(void **state) {
    (void)state;
    static const struct {
        const char *gpu;
        enum gpu_vendor told, vendor;
    } cases[] = {{NULL, VENDOR_AUTO, VENDOR_NVIDIA},
                 {"H100 SXM5", VENDOR_AUTO, VENDOR_NVIDIA},
                 {"A100 custom 64GB", VENDOR_AUTO, VENDOR_NVIDIA},
                 {"NVIDIA GH200", VENDOR_AUTO, VENDOR_NVIDIA},
                 {"AMD MI250X", VENDOR_AUTO, VENDOR_AMD},
                 {"MI300A", VENDOR_AUTO, VENDOR_AMD},
                 {"amd instinct", VENDOR_AUTO, VENDOR_AMD},
                 {"Instinct-MI210", VENDOR_AUTO, VENDOR_AMD},
                 {"Intel Data Center GPU Max 1550", VENDOR_AUTO, VENDOR_INTEL},
                 {"A100, 40 GB, mig", VENDOR_AUTO, VENDOR_NVIDIA},
                 {"L40S in AMDAHL nodes", VENDOR_AUTO, VENDOR_NVIDIA},
                 {"H100", VENDOR_AMD, VENDOR_AMD},
                 {"AMD-like", VENDOR_NVIDIA, VENDOR_NVIDIA}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *name = cases[i].gpu ? xstrdup(cases[i].gpu) : NULL;
        struct site_partition partition = {.gpu = name, .gpu_vendor = cases[i].told};
        if (site_gpu_vendor(&partition) != cases[i].vendor)
            fail_msg("'%s' is taken for %s", name ? name : "", site_vendor_name(site_gpu_vendor(&partition)));
        free(name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_accepted), cmocka_unit_test(test_sources),
        cmocka_unit_test(test_jeanzay),  cmocka_unit_test(test_vendor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
