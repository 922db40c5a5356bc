/* test_submit.c - from a run file and Jean Zay's profile to the request of a job: one clear message for each thing that is
 * wrong, none for what is right, and what is chosen where nothing is said. */
#include "tests/submit_fixture.h"

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
    {"slurm.partition=gpu_p13 train.compute=fp8",
     "'train.compute' is fp8, which the GPUs of partition 'gpu_p13'", DIAGNOSTIC_ERROR},
    {"slurm.partition=gpu_p5 train.compute=fp8",
     "'train.compute' is fp8, which the GPUs of partition 'gpu_p5'", DIAGNOSTIC_ERROR},
    {"slurm.partition=gpu_p5 train.compute=fp8 train.fp8_scaling=block",
     "'train.compute' is fp8, which the GPUs of partition 'gpu_p5'", DIAGNOSTIC_ERROR},
    {"train.compute=fp8 train.fp8_scaling=block",
     "which cuBLASLt has from CUDA 12.9 on, and the job loads 'cuda/12.8.0'", DIAGNOSTIC_WARNING},
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
    {"slurm.environment=[A,B,A]", "'slurm.environment' sets 'A' twice", DIAGNOSTIC_ERROR},
    {"slurm.modules=[a;b]", "'slurm.modules' holds 'a;b', which is not a module's name", DIAGNOSTIC_ERROR},
    {"slurm.modules=[--force]", "'slurm.modules' holds '--force'", DIAGNOSTIC_ERROR},
    {"slurm.mail=a;b@c", "'slurm.mail' is 'a;b@c', which is not an address", DIAGNOSTIC_ERROR},
    {"slurm.exclude=n1;n2", "'slurm.exclude' is 'n1;n2', which is not a list of nodes", DIAGNOSTIC_ERROR},
    {"slurm.mpi=pmix;x", "'slurm.mpi' is 'pmix;x', which is not a plugin", DIAGNOSTIC_ERROR},
    {"run.gemm_choices=choices slurm.partition=cpu_p1", "'run.gemm_choices' has no effect", DIAGNOSTIC_NOTE},
    {"parallel.comm=mpi slurm.partition=cpu_p1", "'parallel.comm' has no effect", DIAGNOSTIC_NOTE},
    {"optimizer.offload=true slurm.partition=cpu_p1", "'optimizer.offload' has no effect", DIAGNOSTIC_NOTE},
    {"run.device=cpu",
     "'run.device' is cpu, but the job asks for 4 GPUs on each node of partition 'gpu_p6' (H100 SXM5), which "
     "would be paid and idle: leave run.device out",
     DIAGNOSTIC_ERROR},
    {"run.device=cuda slurm.partition=cpu_p1", "'run.device' is cuda, but partition 'cpu_p1' has no GPUs",
     DIAGNOSTIC_ERROR},
};

static void test_diagnostics(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof REMARKS / sizeof REMARKS[0]; i++) {
        struct requested p;
        request_words(&p, REMARKS[i].words);
        if (!has_diagnostic(&p.diagnostics, REMARKS[i].level, REMARKS[i].message))
            fail_msg("with %s, expected: %s\ngot %d: %s", REMARKS[i].words, REMARKS[i].message,
                     p.diagnostics.count, p.diagnostics.count ? p.diagnostics.items[0].text : "nothing");
        /* One thing is wrong: one error. */
        assert_int_equal(p.diagnostics.num_errors, REMARKS[i].level == DIAGNOSTIC_ERROR);
        requested_release(&p);
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
        "train.compute=fp8",
        "train.compute=fp8 train.fp8_scaling=block slurm.modules=[cuda/12.9.1]",
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
        struct requested p;
        request_words(&p, fine[i]);
        if (p.diagnostics.count != 0)
            fail_msg("with '%s': %s", fine[i], p.diagnostics.items[0].text);
        requested_release(&p);
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
        struct requested p;
        request_words(&p, cases[i].words);
        assert_non_null(p.request.qos);
        assert_string_equal(p.request.qos->name, cases[i].qos);
        assert_true(p.request.billed_gpus == cases[i].billed_gpus);
        assert_int_equal(p.request.cpus_per_rank, cases[i].cpus_per_rank);
        requested_release(&p);
    }
}

static void test_signal_and_queue(void **state) {
    (void)state;
    struct requested p;
    request_words(&p, "slurm.time=2h");
    assert_int_equal(p.request.signal_lead_s, 300); /* nothing measured */
    p.facts.checkpoint_s = 10;
    request_again(&p);
    assert_int_equal(p.request.signal_lead_s, 180); /* 140, raised to the site's least */
    p.facts.checkpoint_s = 200;
    request_again(&p);
    assert_int_equal(p.request.signal_lead_s, 520);
    p.config.slurm.signal_lead_s = 400;
    request_again(&p);
    assert_int_equal(p.request.signal_lead_s, 400);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_WARNING, "took 200 s: 520 would be safe"));
    submit_check_queue(&p.request, 9, &p.diagnostics);
    assert_int_equal(p.diagnostics.num_errors, 0);
    submit_check_queue(&p.request, -1, &p.diagnostics); /* squeue did not answer */
    assert_int_equal(p.diagnostics.num_errors, 0);
    submit_check_queue(&p.request, 10, &p.diagnostics);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR,
                               "QoS 'qos_gpu_h100-dev' allows 10 submitted jobs, and you have 10"));
    requested_release(&p);
    request_words(&p, "slurm.time=2h slurm.chain.until=done"); /* a chain has two jobs in the queue */
    assert_true(p.request.chains);
    submit_check_queue(&p.request, 9, &p.diagnostics);
    assert_int_equal(p.diagnostics.num_errors, 1);
    requested_release(&p);
    request_words(&p, "");
    char cost[160];
    assert_true(submit_gpu_hours(&p.request) == 80);
    assert_string_equal(submit_cost_text(&p.request, cost, sizeof cost),
                        "at most 80.0 GPU-hours (4 GPUs x 20 h)");
    requested_release(&p);
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
         "compute_80 sm_90a: name a build that has it with --program PATH (nvcc of CUDA 12 makes it: 'make cuda "
         "CUDA_HOME=FOLDER'), or choose another partition",
         DIAGNOSTIC_ERROR},
        {"sm_70 sm_80 compute_80 sm_90a", "slurm.partition=gpu_p13 train.compute=f16", NULL,
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
        struct requested p;
        snprintf(build.gpu_codes, sizeof build.gpu_codes, "%s", cases[i].codes);
        request_words(&p, cases[i].words);
        p.facts.build = &build;
        request_again(&p);
        if (cases[i].message ? !has_diagnostic(&p.diagnostics, cases[i].level, cases[i].message)
                             : p.diagnostics.count > 0)
            fail_msg("case %zu: %s", i,
                     p.diagnostics.count ? p.diagnostics.items[0].text : "nothing was said");
        assert_true(p.diagnostics.count <= 1);
        requested_release(&p);
    }
}

static void test_local(void **state) {
    (void)state;
    struct requested p;
    request_with(&p, "slurm/sites/local.yaml", NULL, 0);
    assert_true(has_diagnostic(&p.diagnostics, DIAGNOSTIC_ERROR,
                               "has no scheduler; start the ranks here: mpirun -n 2 atelier train"));
    requested_release(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_diagnostics),      cmocka_unit_test(test_program),
        cmocka_unit_test(test_no_diagnostics),   cmocka_unit_test(test_choices),
        cmocka_unit_test(test_signal_and_queue), cmocka_unit_test(test_local),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
