/* test_slurm_options.c - options of sbatch and srun that a run file may add, and those that it may not, with the reason; also
 * as Slurm abbreviates them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "slurm/slurm_options.h"
#include "tests/check.h"

/* reason NULL: it may be given. */
static const struct {
    const char *option, *sbatch, *srun;
} CASES[] = {
    {"--exclusive", NULL, NULL},
    {"--exclusive=user", NULL, NULL},
    {"--reservation=course", NULL, "belongs to the job"},
    {"--comment=x", NULL, NULL},
    {"--cpu-bind=cores", NULL, NULL},
    {"--hold", NULL, "belongs to the job"},
    {"--mem=100G", NULL, "slurm.mem"},
    {"--mem-per-cpu=1G", NULL, "slurm.mem"},
    {"--gres-flags=enforce-binding", NULL, NULL},
    {"--export=ALL", NULL, NULL},
    {"--plugin-of-a-site=1", NULL, NULL},
    {"--export=NONE", "counts on its environment", "counts on its environment"},
    {"--export=ALL,A=1", "slurm.environment adds", "slurm.environment adds"},
    {"--export-file=x", "slurm.environment adds", "slurm.environment adds"},
    {"--get-user-env", "slurm.environment adds", "belongs to the job"},
    {"--hint=compute_bound", "the profile's hint", "the profile's hint"},
    {"--threads-per-core=2", "as the profile's hint does", "as the profile's hint does"},
    {"--distribution=cyclic", "must follow each other", "must follow each other"},
    {"--ntasks=9", "slurm.ranks_per_node", "slurm.ranks_per_node"},
    {"--ntasks-per-node=9", "slurm.ranks_per_node", "slurm.ranks_per_node"},
    {"--gpus=1", "slurm.gpus_per_node", "slurm.gpus_per_node"},
    {"--gpus-per-socket=1", "slurm.gpus_per_node", "slurm.gpus_per_node"},
    {"--requeue", "slurm.requeue", "belongs to the job"},
    {"--no-requeue", "slurm.requeue", "belongs to the job"},
    {"--signal=TERM@60", "slurm.signal_lead_s", "slurm.signal_lead_s"},
    {"--open-mode=truncate", "a log goes on", "set by the script"},
    {"--output=x", "run.folder/logs", "run.folder/logs"},
    {"--error=x", "run.folder/logs", "run.folder/logs"},
    {"--array=0-3", "would train in one folder at once", "belongs to the job"},
    {"--wrap=true", "the script is atelier's", "nothing is started"},
    {"--no-kill", "must end", "set by the script"},
    {"--clusters=other", "on this cluster", "belongs to the job"},
    {"--time-min=10", "slurm.time", "belongs to the job"},
    {"--core-spec=2", "slurm.cpus_per_rank", "slurm.cpus_per_rank"},
    {"--container=x", "slurm.launcher", "slurm.launcher"},
    {"--bcast=/tmp/x", "where they lie", "where they lie"},
    {"--overcommit", "slurm.ranks_per_node", "slurm.ranks_per_node"},
    {"--uid=0", "as its owner", "as its owner"},
    {"--x11", "no window", "no window"},
    {"--help", "nothing is started", "nothing is started"},
    /* beginnings, as Slurm takes them */
    {"--exp=NONE", "slurm.environment adds", "slurm.environment adds"},
    {"--ntasks-per-n=9", "slurm.ranks_per_node", "slurm.ranks_per_node"},
    {"--distrib=cyclic", "must follow each other", "must follow each other"},
    {"--exclus", NULL, NULL},
    {"--reserv=course", NULL, "belongs to the job"},
    /* short forms, as sbatch knows them */
    {"-n8", "slurm.ranks_per_node", "slurm.ranks_per_node"},
    {"-m", "must follow each other", "must follow each other"},
    {"-Q", NULL, NULL},
    {"-", NULL, NULL},
    {"--", NULL, NULL},
    {"", NULL, NULL},
};

static void expect_reason(enum slurm_command command, const char *option, const char *wanted) {
    const char *name = NULL, *reason = slurm_option_reason(command, option, &name);
    if ((wanted == NULL) != (reason == NULL) || (wanted && !strstr(reason, wanted)))
        fail_msg("%s '%s': expected '%s', got '%s'", command == SLURM_SRUN ? "srun" : "sbatch", option,
                 wanted ? wanted : "nothing", reason ? reason : "nothing");
    if (reason)
        assert_non_null(name);
}

static void test_reasons(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        expect_reason(SLURM_SBATCH, CASES[i].option, CASES[i].sbatch);
        expect_reason(SLURM_SRUN, CASES[i].option, CASES[i].srun);
    }
}

/* Rows are in the order of their names, each once, and found by their whole name, even where it begins another one. */
static void test_rows(void **state) {
    (void)state;
    const char *name, *before = "";
    int num_rows = 0;
    for (; slurm_option_row(num_rows, &name); num_rows++) {
        if (strcmp(before, name) >= 0)
            fail_msg("'%s' stands after '%s'", name, before);
        char *option = xasprintf("--%s", name);
        const char *found = NULL;
        if (slurm_option_reason(SLURM_SBATCH, option, &found))
            assert_string_equal(found, name);
        free(option);
        before = name;
    }
    assert_true(num_rows > 120);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reasons), cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
