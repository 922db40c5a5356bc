/* test_submit.c - from a run file and Jean Zay's profile to a batch script: one clear message for each thing
 * that is wrong, the script of each preset, and values that no shell may ever read as anything but text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slurm/submit.h"
#include "slurm/subprocess.h"
#include "tests/check.h"

static const char RUN_FILE[] = "run: {folder: runs/x}\nmodel: {path: m}\ndata: {train: t.h5}\n"
                               "slurm: {site: jeanzay, account: abc}\n";

/* A plan with all it was made from. */
struct planned {
    struct config config;
    struct site site;
    struct submit_facts facts;
    struct job_plan plan;
    struct diagnostics diagnostics;
};

/* A program that can compute anywhere. */
static const struct program_facts ANY_GPU = {"0", "sm_70 sm_80 sm_90a", false};

static void plan_with(struct planned *p, const char *profile, const char *const *overrides,
                      int num_overrides) {
    struct err err = {""};
    memset(p, 0, sizeof *p);
    if (config_load_text(&p->config, RUN_FILE, strlen(RUN_FILE), "run.yaml", overrides, num_overrides,
                         &err) != 0 ||
        site_load(&p->site, profile, &err) != 0)
        fail_msg("%s", err.text);
    p->facts = (struct submit_facts){.program = "/opt/atelier",
                                     .build = &ANY_GPU,
                                     .working_folder = "/lustre/me",
                                     .run_folder = "/lustre/me/runs/x",
                                     .config_path = "run.yaml"};
    submit_plan(&p->plan, &p->config, &p->site, &p->facts, &p->diagnostics);
    if (p->plan.partition && p->plan.nodes > 0)
        submit_check_device(&p->plan, &p->diagnostics);
}

/* plan_again - after a test has changed facts or the like. */
static void plan_again(struct planned *p) {
    submit_plan_release(&p->plan);
    diagnostics_release(&p->diagnostics);
    submit_plan(&p->plan, &p->config, &p->site, &p->facts, &p->diagnostics);
    if (p->plan.partition && p->plan.nodes > 0)
        submit_check_device(&p->plan, &p->diagnostics);
}

static void planned_release(struct planned *p) {
    submit_plan_release(&p->plan);
    diagnostics_release(&p->diagnostics);
    config_free(&p->config);
    site_release(&p->site);
}

/* split - "a=1 b=2" into overrides; the texts stay in room. */
static int split(const char *words, char *room, size_t room_bytes, const char *overrides[16]) {
    int count = 0;
    snprintf(room, room_bytes, "%s", words);
    for (char *word = strtok(room, " "); word && count < 16; word = strtok(NULL, " "))
        overrides[count++] = word;
    return count;
}

static void plan_words(struct planned *p, const char *words) {
    char room[512];
    const char *overrides[16];
    int count = split(words, room, sizeof room, overrides);
    plan_with(p, "slurm/sites/jeanzay.yaml", overrides, count);
}

/* --- what must be said --- */

static const struct {
    const char *words, *message;
    enum diagnostic_level level;
} REMARKS[] = {
    {"slurm.account=null",
     "no account: set slurm.account to the project that pays, or the environment variable "
     "IDRPROJ (partition 'gpu_p6' makes 'abc' 'abc@h100')",
     DIAGNOSTIC_ERROR},
    {"slurm.account=abc@v100", "account 'abc@v100' does not fit partition 'gpu_p6', which takes 'abc@h100'",
     DIAGNOSTIC_ERROR},
    {"slurm.account=a;b", "'slurm.account' is 'a;b', which is not an account", DIAGNOSTIC_ERROR},
    {"slurm.partition=gpu_p7", "site 'jeanzay' has no partition 'gpu_p7' (did you mean", DIAGNOSTIC_ERROR},
    {"slurm.constraint=a100",
     "'slurm.constraint' is 'a100', which partition 'gpu_p6' does not have; its own is given",
     DIAGNOSTIC_ERROR},
    {"slurm.partition=gpu_p13 slurm.constraint=v100-64g",
     "'v100-64g', which partition 'gpu_p13' does not have", DIAGNOSTIC_ERROR},
    {"slurm.qos=qos_gpu-t3",
     "'slurm.qos' is 'qos_gpu-t3', but partition 'gpu_p6' has: qos_gpu_h100-dev, "
     "qos_gpu_h100-t3, qos_gpu_h100-t4",
     DIAGNOSTIC_ERROR},
    {"slurm.partition=prepost slurm.qos=qos_cpu-t3", "partition 'prepost' takes none: leave it out",
     DIAGNOSTIC_ERROR},
    {"slurm.qos=qos_gpu_h100-dev slurm.time=3h",
     "'slurm.time' is 03:00:00, but QoS 'qos_gpu_h100-dev' allows 02:00:00: set slurm.time=2h and chain jobs",
     DIAGNOSTIC_ERROR},
    {"slurm.partition=gpu_p5 slurm.time=30h",
     "'slurm.time' is 30:00:00, but partition 'gpu_p5' allows 20:00:00: set "
     "slurm.time=20h and chain jobs",
     DIAGNOSTIC_ERROR},
    {"slurm.partition=gpu_p5 slurm.time=30h", "--chain 2", DIAGNOSTIC_ERROR},
    {"slurm.time=21h slurm.nodes=17", "'slurm.time' is 21:00:00, but QoS 'qos_gpu_h100-t3' allows 20:00:00",
     DIAGNOSTIC_ERROR},
    {"slurm.nodes=129", "129 nodes with 4 GPUs are 516 GPUs, but QoS 'qos_gpu_h100-t3' allows 512",
     DIAGNOSTIC_ERROR},
    {"slurm.qos=qos_gpu_h100-t4 slurm.nodes=17", "are 68 GPUs, but QoS 'qos_gpu_h100-t4' allows 64",
     DIAGNOSTIC_ERROR},
    {"slurm.nodes=365", "'slurm.nodes' is 365, but partition 'gpu_p6' has 364", DIAGNOSTIC_ERROR},
    {"slurm.gpus_per_node=5", "'slurm.gpus_per_node' is 5, but a node of partition 'gpu_p6' has 4",
     DIAGNOSTIC_ERROR},
    {"slurm.ranks_per_node=8", "'slurm.ranks_per_node' is 8 with 4 GPUs: a rank needs a GPU of its own",
     DIAGNOSTIC_ERROR},
    {"slurm.ranks_per_node=3", "1 of the 4 GPUs of a node have no rank, and are paid", DIAGNOSTIC_WARNING},
    {"slurm.cpus_per_rank=25", "4 ranks of 25 cores are 100 cores, but a node of partition 'gpu_p6' has 96",
     DIAGNOSTIC_ERROR},
    {"slurm.nodes=2 slurm.gpus_per_node=1", "billed by whole nodes: 8 GPUs, though it uses 2",
     DIAGNOSTIC_WARNING},
    {"slurm.gpus_per_node=1 slurm.cpus_per_rank=48", "48 cores of a node are the share of 2 GPUs",
     DIAGNOSTIC_WARNING},
    {"slurm.time=soon", "'slurm.time': 'soon' is not a time limit", DIAGNOSTIC_ERROR},
    {"slurm.time=5min", "told to save 300 s before its end, but its time is only 00:05:00", DIAGNOSTIC_ERROR},
    {"slurm.partition=gpu_p13 train.compute=bf16",
     "'train.compute' is bf16, which the GPUs of partition 'gpu_p13'", DIAGNOSTIC_ERROR},
    {"checkpoint.resume=never", "'checkpoint.resume' is never: each start of the job would begin anew",
     DIAGNOSTIC_ERROR},
    {"slurm.chain.budget_gpu_hours=79",
     "one job may cost 80.0 GPU-hours, more than slurm.chain.budget_gpu_hours "
     "(79): set slurm.time to at most 19:45:00",
     DIAGNOSTIC_ERROR},
    {"slurm.partition=cpu_p1 slurm.chain.budget_gpu_hours=5",
     "GPU-hours are not counted on partition 'cpu_p1'", DIAGNOSTIC_ERROR},
    {"slurm.options=[--time=5]", "'slurm.options' holds '--time=5': that is set by slurm.time",
     DIAGNOSTIC_ERROR},
    {"slurm.options=[-k]", "'slurm.options' holds '-k': write options as --name=value", DIAGNOSTIC_ERROR},
    {"slurm.options=[reservation]", "holds 'reservation': write options as --name=value", DIAGNOSTIC_ERROR},
    {"slurm.options=[-n8]", "holds '-n8': that is set by slurm.nodes and slurm.ranks_per_node",
     DIAGNOSTIC_ERROR},
    {"slurm.options=[-N2]", "holds '-N2': that is set by slurm.nodes", DIAGNOSTIC_ERROR},
    {"slurm.options=[-x]", "holds '-x': that is set by slurm.exclude", DIAGNOSTIC_ERROR},
    {"slurm.options=[--ntasks=8]", "that is set by slurm.nodes and slurm.ranks_per_node", DIAGNOSTIC_ERROR},
    {"slurm.options=[--ntasks-per-n=8]", "that is set by slurm.ranks_per_node", DIAGNOSTIC_ERROR},
    {"slurm.options=[--node=8]", "that is set by slurm.nodes", DIAGNOSTIC_ERROR},
    {"slurm.options=[--gres=gpu:1]", "that is set by slurm.gpus_per_node", DIAGNOSTIC_ERROR},
    {"slurm.options=[-G4]", "that is set by slurm.gpus_per_node", DIAGNOSTIC_ERROR},
    {"slurm.options=[--gpus-per-task=1]", "that is set by slurm.gpus_per_node and slurm.ranks_per_node",
     DIAGNOSTIC_ERROR},
    {"slurm.options=[--overcommit]", "that is set by slurm.ranks_per_node", DIAGNOSTIC_ERROR},
    {"slurm.options=[--tres-per-task=cpu:1]", "that is set by slurm.gpus_per_node and", DIAGNOSTIC_ERROR},
    {"slurm.environment=[SLURM_NTASKS]", "holds 'SLURM_NTASKS', which changes what srun starts",
     DIAGNOSTIC_ERROR},
    {"slurm.modules=[a;b]", "'slurm.modules' holds 'a;b', which is not a module's name", DIAGNOSTIC_ERROR},
    {"slurm.modules=[--force]", "'slurm.modules' holds '--force'", DIAGNOSTIC_ERROR},
    {"slurm.mail=a;b@c", "'slurm.mail' is 'a;b@c', which is not an address", DIAGNOSTIC_ERROR},
    {"slurm.exclude=n1;n2", "'slurm.exclude' is 'n1;n2', which is not a list of nodes", DIAGNOSTIC_ERROR},
    {"slurm.mpi=pmix;x", "'slurm.mpi' is 'pmix;x', which is not a plugin", DIAGNOSTIC_ERROR},
    {"run.gemm_choices=choices slurm.partition=cpu_p1", "'run.gemm_choices' has no effect", DIAGNOSTIC_NOTE},
    {"run.device=cpu",
     "'run.device' is cpu, but the job asks for 4 GPUs on each node of partition 'gpu_p6' (H100 SXM5), which "
     "would be paid and idle: leave run.device out",
     DIAGNOSTIC_ERROR},
    {"run.device=cuda slurm.partition=cpu_p1", "'run.device' is cuda, but partition 'cpu_p1' has no GPUs",
     DIAGNOSTIC_ERROR},
};

static bool has_diagnostic(const struct diagnostics *diagnostics, enum diagnostic_level level,
                           const char *phrase) {
    for (int i = 0; i < diagnostics->count; i++)
        if (diagnostics->items[i].level == level && strstr(diagnostics->items[i].text, phrase))
            return true;
    return false;
}

static void test_diagnostics(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof REMARKS / sizeof REMARKS[0]; i++) {
        struct planned p;
        plan_words(&p, REMARKS[i].words);
        if (!has_diagnostic(&p.diagnostics, REMARKS[i].level, REMARKS[i].message))
            fail_msg("with %s, expected: %s\ngot %d: %s", REMARKS[i].words, REMARKS[i].message,
                     p.diagnostics.count, p.diagnostics.count ? p.diagnostics.items[0].text : "nothing");
        /* One thing is wrong: one error. */
        assert_int_equal(p.diagnostics.num_errors, REMARKS[i].level == DIAGNOSTIC_ERROR);
        planned_release(&p);
    }
}

/* Control: what is right is not complained about. */
static void test_no_diagnostics(void **state) {
    (void)state;
    static const char *const fine[] = {
        "",
        "slurm.time=2h slurm.nodes=8",
        "slurm.time=100h slurm.nodes=16",
        "slurm.account=abc@h100",
        "slurm.constraint=h100",
        "run.gemm_choices=choices",
        "slurm.partition=gpu_p13 slurm.constraint=v100-32g",
        "slurm.partition=gpu_p5",
        "run.device=cuda",
        "run.device=cpu slurm.partition=cpu_p1",
        "slurm.nodes=128",
        "slurm.nodes=1 slurm.gpus_per_node=1",
        "slurm.cpus_per_rank=24",
        "slurm.qos=qos_gpu_h100-as slurm.nodes=200",
        "slurm.chain.budget_gpu_hours=80",
        "slurm.options=[--reservation=course,--exclusive]",
        "slurm.options=[--mem=0,--gpu-bind=closest,--nodelist=n1,--licenses=a,--exclusive=user,--gres-flags="
        "x]",
        "slurm.environment=[SLURM_CPU_BIND]",
        "slurm.partition=prepost slurm.time=20h",
        "slurm.exclude=jean-zay-h[1-3],x7 slurm.mail=a.b+c@d.fr slurm.mpi=pmix_v4",
    };
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        struct planned p;
        plan_words(&p, fine[i]);
        if (p.diagnostics.count != 0)
            fail_msg("with '%s': %s", fine[i], p.diagnostics.items[0].text);
        planned_release(&p);
    }
}

static void test_choices(void **state) {
    (void)state;
    static const struct {
        const char *words, *qos;
        double billed_gpus;
        int cpus_per_rank;
    } cases[] = {
        {"slurm.time=2h", "qos_gpu_h100-dev", 4, 24},
        {"slurm.time=121min", "qos_gpu_h100-t3", 4, 24},
        {"slurm.time=2h slurm.nodes=9", "qos_gpu_h100-t3", 36, 24},
        {"slurm.time=21h slurm.nodes=2", "qos_gpu_h100-t4", 8, 24},
        {"slurm.partition=gpu_p13 slurm.time=20h", "qos_gpu-t3", 4, 10},
        {"slurm.partition=gpu_p2 slurm.time=20h", "qos_gpu-t3", 8, 3},
        {"slurm.partition=gpu_p5 slurm.time=20h", "qos_gpu_a100-t3", 8, 8},
        {"slurm.gpus_per_node=1", "qos_gpu_h100-t3", 1, 24},
        {"slurm.gpus_per_node=1 slurm.cpus_per_rank=48", "qos_gpu_h100-t3", 2, 48},
        {"slurm.nodes=2 slurm.gpus_per_node=1", "qos_gpu_h100-t3", 8, 24},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct planned p;
        plan_words(&p, cases[i].words);
        assert_non_null(p.plan.qos);
        assert_string_equal(p.plan.qos->name, cases[i].qos);
        assert_true(p.plan.billed_gpus == cases[i].billed_gpus);
        assert_int_equal(p.plan.cpus_per_rank, cases[i].cpus_per_rank);
        planned_release(&p);
    }
}

static void test_signal_and_queue(void **state) {
    (void)state;
    struct planned p;
    plan_words(&p, "slurm.time=2h");
    assert_int_equal(p.plan.signal_lead_s, 300); /* nothing measured */
    p.facts.checkpoint_s = 10;
    plan_again(&p);
    assert_int_equal(p.plan.signal_lead_s, 180); /* 140, raised to the site's least */
    p.facts.checkpoint_s = 200;
    plan_again(&p);
    assert_int_equal(p.plan.signal_lead_s, 520);
    p.config.slurm.signal_lead_s = 400;
    plan_again(&p);
    assert_int_equal(p.plan.signal_lead_s, 400);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_WARNING, "took 200 s: 520 would be safe"));
    submit_check_queue(&p.plan, 9, &p.diagnostics);
    assert_int_equal(p.diagnostics.num_errors, 0);
    submit_check_queue(&p.plan, -1, &p.diagnostics); /* squeue did not answer */
    assert_int_equal(p.diagnostics.num_errors, 0);
    submit_check_queue(&p.plan, 10, &p.diagnostics);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR,
                               "QoS 'qos_gpu_h100-dev' allows 10 submitted jobs, and you have 10"));
    planned_release(&p);
    plan_words(&p, "slurm.time=2h slurm.chain.until=done"); /* a chain has two jobs in the queue */
    assert_true(p.plan.chains);
    submit_check_queue(&p.plan, 9, &p.diagnostics);
    assert_int_equal(p.diagnostics.num_errors, 1);
    planned_release(&p);
    plan_words(&p, "");
    char cost[160];
    assert_true(submit_gpu_hours(&p.plan) == 80);
    assert_string_equal(submit_cost_text(&p.plan, cost, sizeof cost),
                        "at most 80.0 GPU-hours (4 GPUs x 20 h)");
    planned_release(&p);
}

/* The program of the job against the GPUs it asks for. */
static void test_program(void **state) {
    (void)state;
    static const struct {
        const char *codes, *words, *message;
        enum diagnostic_level level; /* of the message; without one nothing may be said */
    } cases[] = {
        {"", "", "partition 'gpu_p6' (H100 SXM5), but '/opt/atelier' was built without CUDA",
         DIAGNOSTIC_ERROR},
        {"", "slurm.partition=gpu_p5", "was built without CUDA", DIAGNOSTIC_ERROR},
        {"", "slurm.partition=cpu_p1", NULL, DIAGNOSTIC_ERROR},
        {"sm_80 compute_80 sm_90a", "slurm.partition=gpu_p13",
         "the GPUs of partition 'gpu_p13' (V100 SXM2) need machine code for sm_70, but '/opt/atelier' holds "
         "sm_80 "
         "compute_80 sm_90a: name a build that has it with --program",
         DIAGNOSTIC_ERROR},
        {"sm_80 compute_80 sm_90a", "", NULL, DIAGNOSTIC_ERROR},
        {"sm_80 compute_80 sm_90a", "slurm.partition=gpu_p5", NULL, DIAGNOSTIC_ERROR},
        {"sm_90a", "slurm.partition=gpu_p5", "need machine code for sm_80", DIAGNOSTIC_ERROR},
        {"sm_80", "", "need machine code for sm_90a", DIAGNOSTIC_ERROR},
        {"sm_90", "", "need machine code for sm_90a", DIAGNOSTIC_ERROR},
        {"compute_80", "slurm.partition=gpu_p5", "holds no machine code for sm_80", DIAGNOSTIC_WARNING},
        {"host", "slurm.partition=gpu_p5", "need machine code for sm_80", DIAGNOSTIC_ERROR},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct program_facts build = {"0", "", false};
        struct planned p;
        snprintf(build.gpu_codes, sizeof build.gpu_codes, "%s", cases[i].codes);
        plan_words(&p, cases[i].words);
        p.facts.build = &build;
        plan_again(&p);
        if (cases[i].message ? !has_diagnostic(&p.diagnostics, cases[i].level, cases[i].message)
                             : p.diagnostics.count > 0)
            fail_msg("case %zu: %s", i,
                     p.diagnostics.count ? p.diagnostics.items[0].text : "nothing was said");
        assert_true(p.diagnostics.count <= 1);
        planned_release(&p);
    }
}

static void test_local(void **state) {
    (void)state;
    struct planned p;
    plan_with(&p, "slurm/sites/local.yaml", NULL, 0);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR,
                               "has no scheduler; start the ranks here: mpirun -n 2 atelier train"));
    planned_release(&p);
}

/* --- the script --- */

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
        struct planned p;
        plan_words(&p, presets[i].words);
        assert_int_equal(p.diagnostics.num_errors, 0);
        char *script = submit_script(&p.plan);
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
        planned_release(&p);
    }
}

static void test_mpi(void **state) {
    (void)state;
    struct planned p;
    plan_words(&p, "");
    char *script = submit_script(&p.plan);
    assert_non_null(strstr(script, "srun --hint='nomultithread' --kill")); /* not known: the site's default */
    free(script);
    p.facts.mpi = "pmix";
    script = submit_script(&p.plan);
    assert_non_null(strstr(script, "srun --mpi='pmix' --hint"));
    free(script);
    planned_release(&p);
    plan_words(&p, "slurm.mpi=pmi2");
    p.facts.mpi = "pmix";
    script = submit_script(&p.plan);
    assert_non_null(strstr(script, "srun --mpi='pmi2' "));
    free(script);
    planned_release(&p);
}

/* --- hostile values --- */

static const char *const HOSTILE[] = {
    "a b",         "a'; touch HACKED; '", "$(touch HACKED)", "`touch HACKED`",
    "a\"b#c$HOME", "a&b;c|d>e<f*?",       "été ☕ ''"};
enum { NUM_HOSTILE = sizeof HOSTILE / sizeof HOSTILE[0] };

/* The whole script with hostile paths and values: the shell parses it, sets the variables to the very texts,
 * and runs nothing else.  The part behind the module lines is left out: it would start the job. */
static void test_hostile_script(void **state) {
    (void)state;
    for (int i = 0; i < NUM_HOSTILE; i++) {
        struct planned p;
        struct err err = {""};
        plan_with(&p, "slurm/sites/generic.yaml", NULL, 0);
        diagnostics_release(&p.diagnostics);
        submit_plan_release(&p.plan);
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
        submit_plan(&p.plan, &p.config, &p.site, &p.facts, &p.diagnostics);
        assert_int_equal(p.diagnostics.num_errors, 0);
        char *script = submit_script(&p.plan), *cut = strstr(script, "\n# Is there still");
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
        planned_release(&p);
        free(folder);
    }
    assert_int_not_equal(access("HACKED", F_OK), 0);
    assert_int_not_equal(access("/HACKED", F_OK), 0);
}

/* Line breaks would end a line of the script, whatever the quotes: refused wherever they come from. */
static void test_line_breaks(void **state) {
    (void)state;
    struct planned p;
    plan_words(&p, "");
    p.facts.run_folder = "/lustre/a\nb";
    plan_again(&p);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR, "'run.folder' holds a line break"));
    p.facts.run_folder = "/lustre/a\\b";
    plan_again(&p);
    assert_true(
        has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR, "Slurm cannot write logs to a path with '\\'"));
    p.facts.run_folder = "/lustre/ab";
    p.facts.config_path = "x\n#SBATCH --account=other";
    plan_again(&p);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR, "'the run file's name' holds a line break"));
    p.facts.config_path = "x";
    plan_again(&p);
    assert_int_equal(p.diagnostics.num_errors, 0);
    planned_release(&p);
    const char *overrides[] = {"slurm.environment=[{name: A, value: \"b\\nc\"}]",
                               "slurm.options=[\"--comment=a\\nb\"]"};
    plan_with(&p, "slurm/sites/jeanzay.yaml", overrides, 2);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR, "'slurm.environment' holds a line break"));
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR, "'slurm.options' holds a line break"));
    planned_release(&p);
    const char *names[] = {"slurm.job_name=a b\n#SBATCH --x", "slurm.environment=[{name: 'A;B', value: c}]"};
    plan_with(&p, "slurm/sites/jeanzay.yaml", names, 2);
    assert_string_equal(p.plan.job_name, "a_b__SBATCH_--x");
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR,
                               "'slurm.environment' holds 'A;B', which is not a variable's name"));
    planned_release(&p);
}

/* shellcheck finds nothing in the script of any partition. */
static void test_shellcheck(void **state) {
    (void)state;
    struct planned p;
    struct err err = {""};
    const char *const version[] = {"shellcheck", "--version", NULL};
    char *known = subprocess_ask(version, 20, NULL), *folder = test_folder("submit");
    if (!known) {
        free(folder);
        print_message("shellcheck is not installed\n");
        skip();
    }
    free(known);
    plan_words(&p, "");
    for (int i = 0; i < p.site.num_partitions; i++) {
        char *path = xasprintf("%s/%s.sh", folder, p.site.partitions[i].name);
        free(p.config.slurm.partition);
        p.config.slurm.partition = xstrdup(p.site.partitions[i].name);
        plan_again(&p);
        char *script = submit_script(&p.plan);
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
    planned_release(&p);
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
        cmocka_unit_test(test_diagnostics),      cmocka_unit_test(test_program),
        cmocka_unit_test(test_no_diagnostics),   cmocka_unit_test(test_choices),
        cmocka_unit_test(test_signal_and_queue), cmocka_unit_test(test_local),
        cmocka_unit_test(test_presets),          cmocka_unit_test(test_mpi),
        cmocka_unit_test(test_hostile_script),   cmocka_unit_test(test_line_breaks),
        cmocka_unit_test(test_shellcheck),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
