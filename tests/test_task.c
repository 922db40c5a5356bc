/* test_task.c - prepare, eval and export as jobs: which partition they get, what of the training's requests is dropped and
 * said, and a script whose words are text and nothing else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slurm/task.h"
#include "tests/check.h"

static const char RUN_FILE[] =
    "run: {folder: runs/x}\nmodel: {path: m}\ndata: {train: t.h5}\n"
    "slurm: {site: jeanzay, account: abc, partition: gpu_p6, nodes: 4, time: 2h,\n"
    "  qos: qos_gpu_h100-dev, cpus_per_rank: 24, options: [--reservation=course]}\n";

static const struct program_facts BUILD = {"0", "", false};

struct requested {
    struct config config, copy;
    struct site site;
    struct submit_facts facts;
    struct job_request request;
    struct diagnostics diagnostics;
    int status;
};

/* request_task - with at most one override. */
static void request_task(struct requested *p, const char *profile, const char *override,
                         const struct task_words *words) {
    struct err err = {""};
    int count = override ? 1 : 0;
    memset(p, 0, sizeof *p);
    if (config_load_text(&p->config, RUN_FILE, strlen(RUN_FILE), "run.yaml", &override, count, &err) != 0 ||
        site_load(&p->site, profile, &err) != 0)
        fail_msg("%s", err.text);
    p->facts = (struct submit_facts){.program = "/opt/atelier",
                                     .build = &BUILD,
                                     .working_folder = "/lustre/me",
                                     .run_folder = "/lustre/me/runs/x",
                                     .config_path = "run.yaml"};
    const struct task_overrides overrides = {&override, count};
    p->status = task_config(&p->copy, &p->config, &p->site, words->task, &overrides, &p->diagnostics);
    if (p->status == 0)
        submit_request_task(&p->request, words, &p->copy, &p->site, &p->facts, &p->diagnostics);
}

static void requested_release(struct requested *p) {
    submit_request_release(&p->request);
    diagnostics_release(&p->diagnostics);
    config_free(&p->config);
    site_release(&p->site);
}

static const char JEANZAY[] = "slurm/sites/jeanzay.yaml";
static const struct task_words PREPARE = {"prepare", NULL, 0};

static bool is_said(const struct requested *p, enum diagnostic_level level, const char *phrase) {
    for (int i = 0; i < p->diagnostics.count; i++)
        if (p->diagnostics.items[i].level == level && strstr(p->diagnostics.items[i].text, phrase))
            return true;
    return false;
}

static void test_partition(void **state) {
    (void)state;
    struct requested p;
    request_task(&p, JEANZAY, NULL, &PREPARE);
    assert_int_equal(p.diagnostics.num_errors, 0);
    assert_string_equal(p.request.partition->name, "cpu_p1");
    assert_string_equal(p.request.account, "abc@cpu");
    assert_string_equal(p.request.qos->name, "qos_cpu-dev");
    assert_null(p.request.constraint);
    assert_int_equal(p.request.nodes, 1);
    assert_int_equal(p.request.gpus_per_node, 0);
    assert_int_equal(p.request.cpus_per_rank, 40);
    assert_true(is_said(&p, DIAGNOSTIC_NOTE, "partition 'cpu_p1' is taken"));
    assert_true(is_said(&p, DIAGNOSTIC_NOTE,
                        "not used, as the training's: slurm.qos, slurm.cpus_per_rank, slurm.options"));
    assert_int_equal(p.config.slurm.nodes, 4); /* the run file's own values stay */
    assert_string_equal(p.config.slurm.partition, "gpu_p6");
    requested_release(&p);
}

static void test_named(void **state) {
    (void)state;
    struct requested p;
    request_task(&p, JEANZAY, "slurm.cpus_per_rank=8", &PREPARE); /* what is given for this job holds */
    assert_string_equal(p.request.partition->name, "cpu_p1");
    assert_int_equal(p.request.cpus_per_rank, 8);
    assert_false(is_said(&p, DIAGNOSTIC_NOTE, "slurm.cpus_per_rank"));
    requested_release(&p);
    static const struct {
        const char *override, *message;
    } refused[] = {
        {"slurm.partition=gpu_p7", "has no partition 'gpu_p7'"},
        {"slurm.nodes=2", "'slurm.nodes' is 2, but 'prepare' is one process on one node"},
        {"slurm.ranks_per_node=2", "'slurm.ranks_per_node' is 2"},
        {"slurm.gpus_per_node=1", "'prepare' computes on processors"},
        {"slurm.qos=qos_gpu-t3", "'slurm.qos' is 'qos_gpu-t3', but partition 'cpu_p1' has"},
        {"slurm.time=101h", "but partition 'cpu_p1' allows 100:00:00: --set slurm.time=100h"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        request_task(&p, JEANZAY, refused[i].override, &PREPARE);
        if (!is_said(&p, DIAGNOSTIC_ERROR, refused[i].message))
            fail_msg("with %s, expected: %s\ngot: %s", refused[i].override, refused[i].message,
                     p.diagnostics.count ? p.diagnostics.items[p.diagnostics.count - 1].text : "nothing");
        assert_int_equal(p.diagnostics.num_errors, 1);
        requested_release(&p);
    }
}

/* The account of the training's partition, in the run file: the project pays for the task under the suffix of its own. */
static void test_account(void **state) {
    (void)state;
    struct requested p;
    request_task(&p, JEANZAY, "slurm.account=abc@h100", &PREPARE);
    assert_int_equal(p.diagnostics.num_errors, 0);
    assert_string_equal(p.request.account, "abc@cpu");
    assert_true(
        is_said(&p, DIAGNOSTIC_NOTE,
                "account 'abc@cpu' pays for 'prepare' on partition 'cpu_p1'; 'abc@h100' is that of other"));
    requested_release(&p);
    request_task(&p, JEANZAY, "slurm.account=abc@cpu", &PREPARE);
    assert_string_equal(p.request.account, "abc@cpu");
    assert_false(is_said(&p, DIAGNOSTIC_NOTE, "pays for"));
    requested_release(&p);
    /* A suffix that no partition of the site has is not replaced. */
    request_task(&p, JEANZAY, "slurm.account=abc@h200", &PREPARE);
    assert_true(is_said(&p, DIAGNOSTIC_ERROR, "account 'abc@h200' does not fit partition 'cpu_p1'"));
    assert_null(p.request.account);
    requested_release(&p);
}

/* A site whose nodes all have GPUs: refused with the way out, which works. */
static void test_gpus_alone(void **state) {
    (void)state;
    static const char profile[] =
        "name: s\ntime_default: 1h\ndefault_partition: g\npartitions:\n"
        "  - {name: gpu_p6, gpus_per_node: 4, cores_per_node: 32, cores_per_gpu: 8}\n"
        "  - {name: g, gpus_per_node: 4, cores_per_node: 32, cores_per_gpu: 8}\n";
    char *root = test_folder("task_site"), *path = xasprintf("%s/s.yaml", root);
    struct requested p;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(profile, file);
    assert_int_equal(fclose(file), 0);
    request_task(&p, path, NULL, &PREPARE);
    assert_int_equal(p.status, -1);
    assert_true(
        is_said(&p, DIAGNOSTIC_ERROR, "no partition without GPUs: name one with --set slurm.partition=NAME"));
    requested_release(&p);
    static const char run_partition[] = "slurm.partition=g";
    request_task(&p, path, run_partition, &PREPARE);
    assert_int_equal(p.status, 0);
    assert_string_equal(p.request.partition->name, "g");
    assert_int_equal(p.request.gpus_per_node, 0);
    assert_true(is_said(&p, DIAGNOSTIC_WARNING, "has GPUs, which 'prepare' does not use"));
    requested_release(&p);
    free(path), free(root);
}

static void test_script(void **state) {
    (void)state;
    static const char *const words[] = {"a b'$(touch x)`", "--data", "-f;#.h5"};
    const struct task_words eval = {"eval", words, 3};
    struct requested p;
    request_task(&p, JEANZAY, NULL, &eval);
    assert_true(p.request.has_script);
    char *script = submit_script(&p.request);
    assert_non_null(strstr(script, "\ncommand \"$atelier\" eval 'a b'\\''$(touch x)`' '--data' '-f;#.h5'\n"));
    assert_non_null(strstr(script, "#SBATCH --job-name=x-eval\n"));
    assert_non_null(strstr(script, "outcome=\"$run/job-eval.end\"\n"));
    assert_non_null(strstr(script, "#SBATCH --requeue\n"));
    assert_null(strstr(script, "--gres"));
    assert_null(strstr(script, "--signal"));
    assert_null(strstr(script, "chain"));
    assert_null(strstr(script, "srun -"));
    free(script);
    requested_release(&p);
    static const char *const lines[] = {"a\nb"};
    const struct task_words broken = {"eval", lines, 1};
    request_task(&p, JEANZAY, NULL, &broken);
    assert_true(is_said(&p, DIAGNOSTIC_ERROR, "holds a line break"));
    assert_false(p.request.has_script);
    requested_release(&p);
    request_task(&p, JEANZAY, "slurm.launcher=[apptainer, exec, 'my image']", &PREPARE);
    script = submit_script(&p.request);
    assert_non_null(strstr(
        script, "\ncommand 'apptainer' 'exec' 'my image' \"$atelier\" prepare \"$run/job-prepare.yaml\"\n"));
    free(script);
    requested_release(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_partition), cmocka_unit_test(test_named),
                                       cmocka_unit_test(test_account), cmocka_unit_test(test_gpus_alone),
                                       cmocka_unit_test(test_script)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
