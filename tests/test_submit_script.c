/* test_submit_script.c - the batch script of a request: each preset of Jean Zay, what srun is told, and values that no shell
 * may ever read as anything but text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slurm/subprocess.h"
#include "tests/submit_fixture.h"

/* count_lines - how often exactly this line is there. */
static int count_lines(const char *text, const char *line) {
    int count = 0;
    size_t length = strlen(line);
    for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n')
        count += strcspn(at, "\n") == length && strncmp(at, line, length) == 0;
    return count;
}

/* The presets of the machine's users, word for word. */
static void test_presets(void **state) {
    (void)state;
    static const struct {
        const char *words;
        const char *lines[8];
        const char *absent;
    } presets[] = {
        {"slurm.partition=gpu_p13 slurm.time=20h",
         {"#SBATCH --account=abc@v100", "#SBATCH --gres=gpu:4", "#SBATCH --ntasks-per-node=4",
          "#SBATCH --cpus-per-task=10", "#SBATCH --qos=qos_gpu-t3", "#SBATCH --time=20:00:00"},
         "--constraint"},
        {"slurm.partition=gpu_p2l slurm.time=2h",
         {"#SBATCH --account=abc@v100", "#SBATCH --partition=gpu_p2l", "#SBATCH --gres=gpu:8",
          "#SBATCH --cpus-per-task=3", "#SBATCH --qos=qos_gpu-dev"},
         "--constraint"},
        {"slurm.partition=gpu_p5 slurm.nodes=2",
         {"#SBATCH --account=abc@a100", "#SBATCH --constraint=a100", "#SBATCH --gres=gpu:8",
          "#SBATCH --nodes=2", "#SBATCH --cpus-per-task=8", "#SBATCH --qos=qos_gpu_a100-t3",
          "load 'arch/a100'", "export ATELIER_GPU='A100 SXM4'"},
         "--partition"},
        {"slurm.partition=gpu_p6 slurm.nodes=16",
         {"#SBATCH --account=abc@h100", "#SBATCH --constraint=h100", "#SBATCH --ntasks-per-node=4",
          "#SBATCH --cpus-per-task=24", "#SBATCH --hint=nomultithread", "load 'arch/h100'",
          "#SBATCH --nodes=16"},
         "--partition"},
        {"slurm.partition=prepost", {"#SBATCH --account=abc@cpu", "#SBATCH --partition=prepost"}, "--qos"},
        {"slurm.partition=archive", {"#SBATCH --account=abc@cpu", "#SBATCH --partition=archive"}, "--qos"},
        {"slurm.partition=compil_h100",
         {"#SBATCH --account=abc@cpu", "#SBATCH --partition=compil_h100"},
         "--gres"},
        {"slurm.partition=cpu_p1 slurm.ranks_per_node=40",
         {"#SBATCH --ntasks-per-node=40", "#SBATCH --cpus-per-task=1", "#SBATCH --qos=qos_cpu-t3"},
         "--gres"},
    };
    static const char *const common[] = {"#SBATCH --requeue",
                                         "#SBATCH --open-mode=append",
                                         "#SBATCH --signal=USR1@300",
                                         "#SBATCH --output=/lustre/me/runs/x/logs/%x-%j.out",
                                         "set -eu",
                                         "export SRUN_CPUS_PER_TASK=\"${SLURM_CPUS_PER_TASK:-1}\"",
                                         "exec \"$atelier\" chain \"$run\" end \"$code\""};
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        struct requested p;
        request_words(&p, presets[i].words);
        assert_int_equal(p.diagnostics.num_errors, 0);
        char *script = submit_script(&p.request);
        for (int l = 0; l < 8 && presets[i].lines[l]; l++)
            if (count_lines(script, presets[i].lines[l]) != 1)
                fail_msg("with %s there should be one line '%s' in\n%s", presets[i].words,
                         presets[i].lines[l], script);
        for (size_t l = 0; l < sizeof common / sizeof common[0]; l++)
            if (count_lines(script, common[l]) < 1)
                fail_msg("with %s there should be a line '%s' in\n%s", presets[i].words, common[l], script);
        if (strstr(script, presets[i].absent))
            fail_msg("with %s there should be no '%s' in\n%s", presets[i].words, presets[i].absent, script);
        assert_non_null(strstr(script, " --kill-on-bad-exit=1 "));
        free(script);
        requested_release(&p);
    }
}

static void test_mpi(void **state) {
    (void)state;
    struct requested p;
    request_words(&p, "");
    char *script = submit_script(&p.request);
    /* not known: the site's default */
    assert_non_null(strstr(script, "srun --hint='nomultithread' --distribution=block:block --kill"));
    free(script);
    p.facts.mpi = "pmix";
    script = submit_script(&p.request);
    assert_non_null(strstr(script, "srun --mpi='pmix' --hint"));
    free(script);
    requested_release(&p);
    request_words(&p, "slurm.mpi=pmi2");
    p.facts.mpi = "pmix";
    script = submit_script(&p.request);
    assert_non_null(strstr(script, "srun --mpi='pmi2' "));
    free(script);
    requested_release(&p);
}

/* GPUs are numbered from socket to socket: so lie the cores of the ranks.  Without GPUs, or with one rank on a node, nothing is said. */
static void test_distribution(void **state) {
    (void)state;
    static const struct {
        const char *words;
        int count;
    } cases[] = {{"slurm.partition=gpu_p13", 1},
                 {"slurm.partition=gpu_p5", 1},
                 {"slurm.partition=gpu_p6", 1},
                 {"slurm.partition=gpu_p6 slurm.gpus_per_node=1 slurm.ranks_per_node=1", 0},
                 {"slurm.partition=cpu_p1 slurm.ranks_per_node=2", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct requested p;
        request_words(&p, cases[i].words);
        char *script = submit_script(&p.request);
        bool is_there = strstr(script, " --distribution=block:block --kill-on-bad-exit=1 ");
        if (is_there != cases[i].count || (strstr(script, "distribution") != NULL) != cases[i].count)
            fail_msg("with %s: %s", cases[i].words, script);
        free(script);
        requested_release(&p);
    }
}

/* --- hostile values --- */

static const char *const HOSTILE[] = {
    "a b",         "a'; touch HACKED; '", "$(touch HACKED)", "`touch HACKED`",
    "a\"b#c$HOME", "a&b;c|d>e<f*?",       "été ☕ ''"};
enum { NUM_HOSTILE = sizeof HOSTILE / sizeof HOSTILE[0] };

/* The whole script with hostile paths and values: the shell parses it, sets the variables to the very texts,
 * and runs nothing else.  The part after the module lines is left out: it would start the job. */
static void test_hostile_script(void **state) {
    (void)state;
    for (int i = 0; i < NUM_HOSTILE; i++) {
        struct requested p;
        struct err err = {""};
        request_with(&p, "slurm/sites/generic.yaml", NULL, 0);
        diagnostics_release(&p.diagnostics);
        submit_request_release(&p.request);
        site_release(&p.site);
        assert_int_equal(site_load_text(&p.site, "name: g\npartitions: [q]\n", 24, "g.yaml", &err), 0);
        char *folder = xasprintf("/r/%s", HOSTILE[i]);
        struct variable variable = {xstrdup("VALUE"), xstrdup(HOSTILE[i])};
        p.facts.run_folder = folder;
        p.facts.program = folder;
        p.facts.working_folder = "/";
        p.facts.config_path = folder;
        p.config.slurm.environment = xcalloc(1, sizeof variable);
        p.config.slurm.environment[0] = variable;
        p.config.slurm.num_environment = 1;
        submit_request(&p.request, &p.config, &p.site, &p.facts, &p.diagnostics);
        assert_int_equal(p.diagnostics.num_errors, 0);
        char *script = submit_script(&p.request), *cut = strstr(script, "\n# Is there still");
        assert_non_null(cut);
        const char *const check[] = {"bash", "-n", "-c", script, NULL};
        char *nothing = subprocess_ask(check, 10, &err);
        if (!nothing)
            fail_msg("bash does not parse it: %s\n%s", err.text, script);
        *cut = '\0';
        char *command =
            xasprintf("%s\ntrap - EXIT\nprintf '%%s|%%s|%%s' \"$run\" \"$atelier\" \"$VALUE\"", script);
        const char *const argv[] = {"bash", "-c", command, NULL};
        char *back = subprocess_ask(argv, 10, &err),
             *want = xasprintf("%s|%s|%s", folder, folder, HOSTILE[i]);
        if (!back)
            fail_msg("%s\n%s", err.text, script);
        assert_string_equal(back, want);
        free(back);
        free(want);
        free(command);
        free(nothing);
        free(script);
        requested_release(&p);
        free(folder);
    }
    assert_int_not_equal(access("HACKED", F_OK), 0);
    assert_int_not_equal(access("/HACKED", F_OK), 0);
}

/* Line breaks would end a line of the script, whatever the quotes: refused wherever they come from. */
static void test_line_breaks(void **state) {
    (void)state;
    struct requested p;
    request_words(&p, "");
    p.facts.run_folder = "/lustre/a\nb";
    request_again(&p);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR, "'run.folder' holds a line break"));
    p.facts.run_folder = "/lustre/a\\b";
    request_again(&p);
    assert_true(
        has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR, "Slurm cannot write logs to a path with '\\'"));
    p.facts.run_folder = "/lustre/ab";
    p.facts.config_path = "x\n#SBATCH --account=other";
    request_again(&p);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR, "'the run file's name' holds a line break"));
    p.facts.config_path = "x";
    request_again(&p);
    assert_int_equal(p.diagnostics.num_errors, 0);
    requested_release(&p);
    const char *overrides[] = {"slurm.environment=[{name: A, value: \"b\\nc\"}]",
                               "slurm.options=[\"--comment=a\\nb\"]"};
    request_with(&p, "slurm/sites/jeanzay.yaml", overrides, 2);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR, "'slurm.environment' holds a line break"));
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR, "'slurm.options' holds a line break"));
    requested_release(&p);
    const char *names[] = {"slurm.job_name=a b\n#SBATCH --x", "slurm.environment=[{name: 'A;B', value: c}]"};
    request_with(&p, "slurm/sites/jeanzay.yaml", names, 2);
    assert_string_equal(p.request.job_name, "a_b__SBATCH_--x");
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR,
                               "'slurm.environment' holds 'A;B', which is not a variable's name"));
    requested_release(&p);
}

/* shellcheck finds nothing in the script of any partition. */
static void test_shellcheck(void **state) {
    (void)state;
    struct requested p;
    struct err err = {""};
    const char *const version[] = {"shellcheck", "--version", NULL};
    char *known = subprocess_ask(version, 20, NULL), *folder = test_folder("submit");
    if (!known) {
        free(folder);
        print_message("shellcheck is not installed\n");
        skip();
    }
    free(known);
    request_words(&p, "");
    for (int i = 0; i < p.site.num_partitions; i++) {
        char *path = xasprintf("%s/%s.sh", folder, p.site.partitions[i].name);
        free(p.config.slurm.partition);
        p.config.slurm.partition = xstrdup(p.site.partitions[i].name);
        request_again(&p);
        char *script = submit_script(&p.request);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(script, file);
        fclose(file);
        const char *const argv[] = {"shellcheck", path, NULL};
        struct subprocess_result result;
        assert_int_equal(subprocess_run(argv, 60, &result, &err), 0);
        if (result.exit_code != 0)
            fail_msg("%s", result.output);
        subprocess_release(&result);
        free(script);
        free(path);
    }
    requested_release(&p);
    /* Control: shellcheck does look. */
    char *path = xasprintf("%s/bad.sh", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("#!/bin/bash\nrm $1/*\n", file);
    fclose(file);
    const char *const argv[] = {"shellcheck", path, NULL};
    struct subprocess_result result;
    assert_int_equal(subprocess_run(argv, 60, &result, &err), 0);
    assert_int_not_equal(result.exit_code, 0);
    subprocess_release(&result);
    free(path);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets),      cmocka_unit_test(test_mpi),
        cmocka_unit_test(test_distribution), cmocka_unit_test(test_hostile_script),
        cmocka_unit_test(test_line_breaks),  cmocka_unit_test(test_shellcheck),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
