/* test_site.c - site profiles: what must be refused and where, the shipped ones, what sinfo and sacctmgr say,
 * and the comparison of both. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "slurm/site_compare.h"
#include "tests/check.h"

static int load(struct site *site, const char *text, struct err *err) {
    return site_load_text(site, text, strlen(text), "s.yaml", err);
}

/* --- refusals --- */

static const struct {
    const char *text, *message;
} REFUSALS[] = {
    {"", "site profile 's.yaml': 'name' is missing"},
    {"name: a b\npartitions: [p]\n",
     "site profile 's.yaml' line 1 column 1: 'name' is missing, or is more than"},
    {"name: x\n", "'partitions' is empty, and 'discover' is not set"},
    {"name: x\npartitons: [p]\n", " line 2 column 1: unknown key 'partitons' (did you mean 'partitions'?)"},
    {"name: x\nzzzzzzzz: 1\n", " line 2 column 1: unknown key 'zzzzzzzz' (slurm/README.md lists them)"},
    {"name: x\nbilling: {whole_node: true}\n",
     "unknown key 'billing.whole_node' (did you mean 'billing.whole_nodes'?)"},
    {"name: x\nbilling: 5\n", " line 2 column 1: 'billing' is a value, expected a mapping of keys"},
    {"name: x\npartitions:\n  - name: p\n    gpus: 4\n",
     " line 4 column 5: unknown key 'gpus' in 'partitions' (did you mean"},
    {"name: x\npartitions:\n  - gpus_per_node: 4\n",
     " line 3 column 5: an entry of 'partitions' has no 'name'"},
    {"name: x\npartitions:\n  - name: p\n    gpus_per_node: four\n",
     " line 4 column 5: 'gpus_per_node' is 'four', expected an integer from 0 to 64"},
    {"name: x\npartitions:\n  - name: p\n    gpus_per_node: 65\n", "'gpus_per_node' is '65'"},
    {"name: x\npartitions:\n  - name: p\n    fabric: infinband\n", "(did you mean 'infiniband'?)"},
    {"name: x\npartitions:\n  - name: p\n    qos: [{max_hours: 2}]\n", "an entry of 'qos' has no 'name'"},
    {"name: x\npartitions:\n  - name: p\n    qos: [{name: q, max_hours: -1}]\n", "'max_hours' is '-1'"},
    {"name: x\npartitions:\n  - name: p\n    qos: [q, q]\n",
     " line 2 column 1: partition 'p' has the QoS 'q' twice"},
    {"name: x\npartitions: [p, p]\n", "partition 'p' is a duplicate"},
    {"name: x\npartitions: [{name: 'p;q'}]\n", "partition 'p;q': name 'p;q' is not a Slurm name"},
    {"name: x\npartitions: [{name: p, constraint: 'a b'}]\n", "constraint 'a b' is not a Slurm name"},
    {"name: x\npartitions: [{name: p, gpus_per_node: 4, cores_per_gpu: 10, cores_per_node: 30}]\n",
     "4 GPUs with a share of 10 cores each exceed the 30 cores of a node"},
    {"name: x\npartitions: [p]\ndefault_partition: q\n", " line 3 column 1: 'default_partition' is 'q'"},
    {"name: x\npartitions: [p]\ntime_default: soon\n", " line 3 column 1: 'soon' is not a time limit"},
    {"name: x\npartitions: [p]\nenvironment: [{name: 'A B', value: c}]\n",
     "'A B' cannot be an environment variable"},
    {"name: x\npartitions: [p]\nenvironment: [{name: A, value: \"b\\nc\"}]\n",
     "line 3 column 1: 'value' is 'b...', with a line break"},
    {"name: x\npartitions: [p]\nmodule_init: [\"/a\\n#SBATCH --x\"]\n",
     "line 3 column 1: 'text' is '/a...', with a line break or another control character, which cannot be"},
    {"name: x\npartitions: [p]\noptions: [\"--comment=a\\nrm b\"]\n", "'text' is '--comment=a...'"},
    {"name: x\npartitions: [p]\nhint: \"a\\nb\"\n", "line 3 column 1: 'hint' is 'a...'"},
    {"name: x\npartitions: [p]\nmpi: \"pmix\\e[2J\"\n", "'mpi' is 'pmix"},
    {"name: x\npartitions: [{name: p, gpu: \"A100\\nx\"}]\n", "line 2 column 1: 'gpu' is 'A100...'"},
    {"name: x\npartitions: [{name: p, modules: [\"a\\rb\"]}]\n", "line 2 column 1: 'text' is 'a...'"},
    {"name: x\npartitions: [{name: p, qos: [{name: \"a\\nb\"}]}]\n", "'name' is 'a...'"},
    {"name: x\npartitions: [p]\nscheduler: pbs\n", "'scheduler' is 'pbs', expected none | slurm"},
};

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        struct site site;
        struct err err = {""};
        if (load(&site, REFUSALS[i].text, &err) == 0)
            fail_msg("loads, but should not: %s", REFUSALS[i].text);
        if (!strstr(err.text, REFUSALS[i].message) || !strstr(err.text, "site profile 's.yaml'"))
            fail_msg("for\n%s\nexpected: %s\ngot:      %s", REFUSALS[i].text, REFUSALS[i].message, err.text);
        site_release(&site); /* harmless after a failure */
    }
}

/* Control: prose may have lines, and other texts any character that a line can hold. */
static void test_texts(void **state) {
    (void)state;
    struct site site;
    struct err err = {""};
    if (load(&site,
             "name: x\npartitions: [{name: p, gpu: \"H100 'SXM5' \\\"é $x`\"}]\n"
             "description: \"two\\nlines\"\nstorage: [{name: s, use: \"two\\nlines\"}]\n",
             &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(site.description, "two\nlines");
    site_release(&site);
}

/* --- what must be read --- */

static void test_values(void **state) {
    (void)state;
    struct site site;
    struct err err = {""};
    const char *text =
        "name: x\npartitions:\n"
        "  - {name: p, account_suffix: '@g', gpus_per_node: 2, cores_per_node: 8, cores_per_gpu: 4,\n"
        "     fabric: omni_path, bf16: false, modules: [a/1, b/2],\n"
        "     qos: [{name: q, max_hours: 2, max_gpus: 8, max_submitted: 3}, r],\n"
        "     features: [f]}\n"
        "  - other\n"
        "storage: [{name: s, variable: ATELIER_TEST_ROOT, purge_days: 30}]\n";
    if (load(&site, text, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(site.num_partitions, 2);
    const struct site_partition *p = site_partition(&site, "p", &err);
    assert_non_null(p);
    assert_string_equal(p->account_suffix, "@g");
    assert_int_equal(p->fabric, FABRIC_OMNI_PATH);
    assert_false(p->bf16);
    assert_true(p->billed);
    assert_int_equal(p->num_qos, 2);
    assert_true(p->qos[0].max_hours == 2 && p->qos[0].max_gpus == 8 && p->qos[0].max_submitted == 3);
    assert_string_equal(p->qos[1].name, "r");
    assert_string_equal(p->modules[1].text, "b/2");
    assert_int_equal(site.signal_lead_s, 300);
    assert_null(site_partition(&site, "oter", &err));
    assert_non_null(strstr(err.text, "did you mean 'other'"));
    /* storage: the folder itself and what is below it, not what begins alike */
    setenv("ATELIER_TEST_ROOT", "/a/scratch/", 1);
    assert_ptr_equal(site_storage(&site, "/a/scratch/run"), &site.storage[0]);
    assert_null(site_storage(&site, "/a/scratch2/run"));
    unsetenv("ATELIER_TEST_ROOT");
    assert_null(site_storage(&site, "/a/scratch/run"));
    site_release(&site);
}

/* Where a run computes: the profile's cluster only where this is it. */
static void test_here(void **state) {
    (void)state;
    struct site site;
    struct err err = {""};
    const char *job = getenv("SLURM_JOB_ID");
    char *kept = job ? xstrdup(job) : NULL;
    unsetenv("SLURM_JOB_ID");
    unsetenv("IDRPROJ");
    for (int in_job = 0; in_job < 2; in_job++) {
        if (in_job)
            setenv("SLURM_JOB_ID", "12", 1);
        assert_int_equal(site_profile_here(&site, "jeanzay", &err), 0);
        assert_string_equal(site.name, in_job ? "jeanzay" : "local");
        site_release(&site);
    }
    unsetenv("SLURM_JOB_ID");
    assert_int_equal(site_profile_here(&site, "local", &err), 0);
    assert_string_equal(site.name, "local");
    site_release(&site);
    assert_int_equal(site_profile_here(&site, "jeanzai", &err), -1);
    if (kept)
        setenv("SLURM_JOB_ID", kept, 1);
    free(kept);
}

/* Each shipped profile loads, and says of Jean Zay what its documentation says. */
static void test_shipped(void **state) {
    (void)state;
    static const char *const names[] = {"jeanzay", "generic", "local"};
    struct site site;
    struct err err = {""};
    for (int i = 0; i < 3; i++) {
        char *path = xasprintf("slurm/sites/%s.yaml", names[i]);
        if (site_load(&site, path, &err) != 0)
            fail_msg("%s", err.text);
        assert_string_equal(site.name, names[i]);
        site_release(&site);
        free(path);
    }
    assert_int_equal(site_load(&site, "slurm/sites/jeanzay.yaml", &err), 0);
    static const char *const partitions[] = {"gpu_p13", "gpu_p2",  "gpu_p5",  "gpu_p6",
                                             "cpu_p1",  "prepost", "archive", "compil"};
    for (size_t i = 0; i < sizeof partitions / sizeof partitions[0]; i++)
        if (!site_partition(&site, partitions[i], &err))
            fail_msg("%s", err.text);
    const struct site_partition *a100 = site_partition(&site, "gpu_p5", &err);
    assert_true(a100->max_hours == 20);
    for (int i = 0; i < a100->num_qos; i++)
        assert_true(a100->qos[i].max_hours > 0 && a100->qos[i].max_hours <= 20);
    assert_true(site.billing.whole_nodes && site.needs_account);
    assert_true(site.energy.factor_name[0] && site.energy.factor_source[0] && site.energy.pue_source[0]);
    site_release(&site);
    char *path = site_find("jeanzay", &err);
    assert_non_null(path);
    free(path);
    assert_null(site_find("jeanzai", &err));
    assert_non_null(strstr(err.text, "did you mean 'jeanzay'"));
}

/* --- the cluster's own words --- */

static const char SINFO[] = "gpu_a*|20:00:00|50|2|32|515000|a100,x|gpu:8\n"
                            "gpu_a|20:00:00|2|2|32|257000|a100|gpu:a100:8(S:0-1)\n"
                            "cpu|infinite|7|2|20|191000|(null)|(null)\n"
                            "mixed|1-00:00:00|1|2|8|1000+|f|shard:8,gpu:h100:3,gpu:l40:1(S:0)\n"
                            "broken line\n"
                            "|1:00:00|1|1|1|1|f|\n";

static void test_sinfo(void **state) {
    (void)state;
    struct cluster cluster = {.num_partitions = 0};
    cluster_read_sinfo(&cluster, SINFO);
    assert_int_equal(cluster.num_partitions, 3);
    const struct cluster_partition *a = cluster_partition(&cluster, "gpu_a");
    assert_non_null(a);
    assert_true(a->is_default);
    assert_int_equal(a->num_nodes, 52);
    assert_int_equal(a->cores_per_node, 64);
    assert_int_equal(a->gpus_per_node, 8);
    assert_int_equal(a->max_s, 72000);
    assert_true(a->memory_gb == 257); /* of the smaller nodes */
    assert_string_equal(a->features, "a100,x,a100");
    const struct cluster_partition *cpu = cluster_partition(&cluster, "cpu");
    assert_int_equal(cpu->max_s, -1);
    assert_int_equal(cpu->gpus_per_node, 0);
    assert_string_equal(cpu->features, "");
    const struct cluster_partition *mixed = cluster_partition(&cluster, "mixed");
    assert_int_equal(mixed->gpus_per_node, 4);
    assert_int_equal(mixed->max_s, 86400);

    struct site site;
    struct err err = {""};
    assert_int_equal(load(&site, "name: g\ndiscover: true\n", &err), 0);
    site_take_cluster(&site, &cluster);
    assert_int_equal(site.num_partitions, 3);
    assert_string_equal(site.default_partition, "gpu_a");
    assert_string_equal(site.partitions[0].option, "gpu_a");
    assert_int_equal(site.partitions[0].cores_per_gpu, 8);
    assert_true(site.partitions[0].max_hours == 20 && site.partitions[1].max_hours == 0);
    site_release(&site);
    cluster_release(&cluster);
}

/* has_diagnostic - whether one of this level holds the phrase. */
static bool has_diagnostic(const struct diagnostics *diagnostics, enum diagnostic_level level,
                           const char *phrase) {
    for (int i = 0; i < diagnostics->count; i++)
        if (diagnostics->items[i].level == level && strstr(diagnostics->items[i].text, phrase))
            return true;
    return false;
}

static const char AGREES[] =
    "name: x\npartitions:\n"
    "  - {name: gpu_a, max_hours: 20, nodes: 52, gpus_per_node: 8, cores_per_node: 64,\n"
    "     constraint: a100, qos: [{name: q, max_hours: 20, max_submitted: 10}]}\n"
    "  - {name: c, option: cpu, nodes: 7}\n"
    "  - mixed\n";

static void test_compare(void **state) {
    (void)state;
    struct cluster cluster = {.num_partitions = 0};
    struct diagnostics diagnostics = {NULL, 0, 0};
    struct site site;
    struct err err = {""};
    cluster_read_sinfo(&cluster, SINFO);
    cluster_read_qos(&cluster, "q|20:00:00|10\nnormal||\nbad line\n");
    assert_int_equal(cluster.num_qos, 2);
    assert_int_equal(cluster.qos[1].max_s, -1);
    cluster.has_qos = true;
    assert_int_equal(load(&site, AGREES, &err), 0);
    site_compare(&site, &cluster, &diagnostics);
    assert_int_equal(diagnostics.count, 0); /* the profile above agrees: nothing to say */
    site_release(&site);
    diagnostics_release(&diagnostics);

    const char *differs =
        "name: x\npartitions:\n"
        "  - {name: gpu_a, max_hours: 100, nodes: 50, gpus_per_node: 9, cores_per_node: 48,\n"
        "     constraint: h100, qos: [{name: q, max_hours: 30, max_submitted: 9}, t4]}\n"
        "  - gone\n";
    assert_int_equal(load(&site, differs, &err), 0);
    site_compare(&site, &cluster, &diagnostics);
    assert_true(has_diagnostic(&diagnostics, DIAGNOSTIC_ERROR,
                               "'gpu_a': time limit 100:00:00 in the profile, 20:00:00"));
    assert_true(has_diagnostic(&diagnostics, DIAGNOSTIC_WARNING, "'gpu_a': 50 nodes in the profile, 52"));
    assert_true(has_diagnostic(&diagnostics, DIAGNOSTIC_ERROR, "'gpu_a': 9 GPUs a node in the profile, 8"));
    assert_true(
        has_diagnostic(&diagnostics, DIAGNOSTIC_WARNING, "'gpu_a': 48 cores a node in the profile, 64"));
    assert_true(
        has_diagnostic(&diagnostics, DIAGNOSTIC_ERROR, "no node of the cluster has the feature 'h100'"));
    assert_true(has_diagnostic(&diagnostics, DIAGNOSTIC_ERROR,
                               "QoS 'q': time limit 30:00:00 in the profile, 20:00:00"));
    assert_true(
        has_diagnostic(&diagnostics, DIAGNOSTIC_WARNING, "QoS 'q': 9 submitted jobs in the profile, 10"));
    assert_true(has_diagnostic(&diagnostics, DIAGNOSTIC_ERROR,
                               "QoS 't4' of partition 'gpu_a' is not on the cluster"));
    assert_true(has_diagnostic(&diagnostics, DIAGNOSTIC_ERROR,
                               "partition 'gone' of the profile is not on the cluster"));
    assert_true(has_diagnostic(&diagnostics, DIAGNOSTIC_NOTE,
                               "partition 'cpu' of the cluster is not in the profile"));
    diagnostics_release(&diagnostics);

    site_compare_config(&site, "KillWait                = 5 sec\nJobRequeue = 0\nMpiDefault = none\n",
                        &diagnostics);
    assert_true(has_diagnostic(&diagnostics, DIAGNOSTIC_NOTE, "KillWait is 5 sec"));
    assert_true(has_diagnostic(&diagnostics, DIAGNOSTIC_NOTE, "JobRequeue is 0"));
    assert_true(has_diagnostic(&diagnostics, DIAGNOSTIC_NOTE, "MpiDefault is 'none'"));
    diagnostics_release(&diagnostics);
    site_compare_config(&site, "KillWait = 60 sec\nJobRequeue = 1\n", &diagnostics);
    assert_int_equal(diagnostics.count, 0);
    site_release(&site);
    cluster_release(&cluster);
}

/* make_program - a script that says why on standard error and fails. */
static void make_program(const char *folder, const char *name) {
    static const char text[] = "#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n";
    char *path = xasprintf("%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) < 0, false);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0755), 0);
    free(path);
}

/* Slurm's clients on a laptop: why the cluster's profile was taken is said, but not to who named it. */
static void test_broken_sinfo(void **state) {
    (void)state;
    static const char chosen[] =
        "the site was chosen because sbatch is on PATH: slurm.site local is this computer alone";
    char *folder = test_folder("site_clients"), *before = xstrdup(getenv("PATH"));
    char *path = xasprintf("%s:%s", folder, before);
    struct site site;
    struct err err = {""};
    make_program(folder, "sbatch");
    make_program(folder, "sinfo");
    assert_int_equal(setenv("PATH", path, 1), 0);
    assert_int_equal(site_open(&site, NULL, &err), -1);
    assert_non_null(strstr(err.text, "site 'generic' is read from Slurm: "));
    assert_non_null(strstr(err.text, "Unable to contact slurm controller"));
    assert_non_null(strstr(err.text, chosen));
    assert_int_equal(site_open(&site, "generic", &err), -1);
    assert_non_null(strstr(err.text, "site 'generic' is read from Slurm: "));
    assert_null(strstr(err.text, chosen));
    assert_int_equal(setenv("PATH", before, 1), 0);
    free(path);
    free(before);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_texts),   cmocka_unit_test(test_here),
        cmocka_unit_test(test_values),       cmocka_unit_test(test_shipped), cmocka_unit_test(test_sinfo),
        cmocka_unit_test(test_broken_sinfo), cmocka_unit_test(test_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
