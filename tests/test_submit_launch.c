/* test_submit_launch.c - how a job's ranks are launched: the type of GPUs, memory, options of srun, words
 * before the program; GPUs of another maker; and the script's modules, run by a shell against stubs of
 * 'module'. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "slurm/program.h"
#include "slurm/submit_modules.h"
#include "slurm/subprocess.h"
#include "tests/submit_fixture.h"

/* Programs with machine code for every GPU of the profiles: built on the machine, and a bundle. */
static const struct program_facts BUILT = {.gpu_codes = "sm_80 sm_90a compute_80"},
                                  BUNDLE = {.gpu_codes = "sm_80 sm_90a compute_80", .is_bundle = true};

/* A request and its script. */
struct launch {
    struct requested requested;
    char *script; /* NULL: an error among the diagnostics */
};

/* launch_again - after a test has changed facts. */
static void launch_again(struct launch *l) {
    struct requested *p = &l->requested;
    free(l->script);
    request_again(p);
    l->script = p->diagnostics.num_errors == 0 ? submit_script(&p->request) : NULL;
}

/* launch_with - for a profile given as text. */
static void launch_with(struct launch *l, const char *profile, const char *const *overrides,
                        int num_overrides) {
    static const char run_file[] = "run: {folder: runs/x}\nmodel: {path: m}\ndata: {train: t.h5}\n"
                                   "slurm: {site: s}\n"; /* no account */
    struct err err = {""};
    l->script = NULL;
    requested_begin(&l->requested, run_file, overrides, num_overrides);
    if (site_load_text(&l->requested.site, profile, strlen(profile), "s.yaml", &err) != 0)
        fail_msg("%s", err.text);
    l->requested.facts.build = &BUILT;
    launch_again(l);
}

static void launch_release(struct launch *l) {
    free(l->script);
    requested_release(&l->requested);
}

static const char *all_diagnostics(const struct launch *l, char room[4096]) {
    room[0] = '\0';
    const struct diagnostics *diagnostics = &l->requested.diagnostics;
    for (int i = 0; i < diagnostics->count; i++)
        snprintf(room + strlen(room), 4096 - strlen(room), "%s\n", diagnostics->items[i].text);
    return room;
}

static void expect_in_script(const struct launch *l, const char *text) {
    char room[4096];
    if (!l->script)
        fail_msg("no script: %s", all_diagnostics(l, room));
    if (!strstr(l->script, text))
        fail_msg("'%s' is not in:\n%s", text, l->script);
}

static const char LEONARDO[] =
    "name: leonardo\nneeds_account: false\nsrun_options: [--cpu-bind=cores]\n"
    "launcher: [apptainer, exec, --nv, /images/a.sif]\n"
    "partitions:\n"
    "  - {name: boost, option: boost, gpu: A100, gres: 'gpu:a100', gpus_per_node: 4, cores_per_node: 32,\n"
    "     cores_per_gpu: 8, mem: 400G, srun_options: [--network=sn]}\n"
    "  - {name: plain, option: plain, gpu: A100, gpus_per_node: 4, cores_per_node: 32, mem_per_cpu: 4G,\n"
    "     launcher: [nothing]}\n";

static void test_launch(void **state) {
    (void)state;
    static const char *const boost[] = {"slurm.partition=boost"}, *const plain[] = {"slurm.partition=plain"};
    static const char *const own[] = {
        "slurm.partition=boost",        "slurm.mem=0",
        "slurm.srun_options=[--label]", "slurm.launcher=[singularity, exec, --nv, \"it's an image.sif\"]",
        "slurm.gpus_per_node=2",        "slurm.ranks_per_node=2"};
    static const char *const options[] = {"slurm.partition=boost", "slurm.options=[--mem-per-gpu=9G]"};
    struct launch l;
    launch_with(&l, LEONARDO, boost, 1);
    expect_in_script(&l, "#SBATCH --gres=gpu:a100:4\n#SBATCH --mem=400G\n");
    expect_in_script(
        &l,
        "srun --distribution=block:block '--cpu-bind=cores' '--network=sn' --kill-on-bad-exit=1 --wait=60 'apptainer' 'exec' "
        "'--nv' '/images/a.sif' \"$atelier\" train");
    launch_release(&l);
    launch_with(&l, LEONARDO, plain, 1);
    expect_in_script(&l, "#SBATCH --gres=gpu:4\n#SBATCH --mem-per-cpu=4G\n");
    expect_in_script(
        &l,
        "srun --distribution=block:block '--cpu-bind=cores' --kill-on-bad-exit=1 --wait=60 'nothing' \"$atelier\" train");
    launch_release(&l);
    /* The run file has the last word. */
    launch_with(&l, LEONARDO, own, 6);
    expect_in_script(&l, "#SBATCH --gres=gpu:a100:2\n#SBATCH --mem=0\n");
    expect_in_script(&l,
                     "'--network=sn' '--label' --kill-on-bad-exit=1 --wait=60 'singularity' 'exec' '--nv' "
                     "'it'\\''s an image.sif' \"$atelier\" train");
    assert_null(strstr(l.script, "apptainer"));
    launch_release(&l);
    /* sbatch takes one form of memory: that of slurm.options. */
    launch_with(&l, LEONARDO, options, 2);
    assert_null(strstr(l.script, "--mem=400G"));
    expect_in_script(&l, "#SBATCH --mem-per-gpu=9G\n");
    launch_release(&l);
}

static void test_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"slurm.srun_options=[--ntasks=9]",
         "'slurm.srun_options': '--ntasks=9': '--ntasks' of srun: that is set by slurm.ranks"},
        {"slurm.srun_options=[-l]", "'slurm.srun_options': '-l' is not an option of srun"},
        {"slurm.mem=all", "'slurm.mem': 'all' is not an amount of memory"},
        {"slurm.launcher=[\"apptainer exec x.sif\"]", "'slurm.launcher': 'launcher' begins with"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const words[] = {"slurm.partition=boost", cases[i][0]};
        struct launch l;
        char room[4096];
        launch_with(&l, LEONARDO, words, 2);
        if (l.script || !strstr(all_diagnostics(&l, room), cases[i][1]))
            fail_msg("for %s expected '%s', got: %s", cases[i][0], cases[i][1], all_diagnostics(&l, room));
        launch_release(&l);
    }
}

/* GPUs that the kernels are not written for: one sentence, whatever run.device says and whatever else there would be
 * to say; what it advises is taken. */
static void expect_other_vendor(const char *profile, const char *device, const char *advice) {
    const char *const words[] = {"slurm.partition=mi250", device};
    struct launch l;
    char room[4096];
    launch_with(&l, profile, words, 2);
    char *wanted =
        xasprintf("partition 'mi250' of site 'adastra' has GPUs of AMD (AMD MI250X), and a training "
                  "computes on NVIDIA's or on a partition without GPUs: choose another %s",
                  advice);
    if (l.requested.diagnostics.num_errors != 1 ||
        strcmp(l.requested.diagnostics.items[l.requested.diagnostics.count - 1].text, wanted) != 0)
        fail_msg("with %s: %s", device, all_diagnostics(&l, room));
    free(wanted);
    launch_release(&l);
}

static void test_vendor(void **state) {
    (void)state;
#define ADASTRA                                                                                               \
    "name: adastra\nneeds_account: true\npartitions:\n  - {name: mi250, constraint: MI250, gpu: AMD MI250X, " \
    "max_hours: 24, gpus_per_node: 8, cores_per_node: 64}\n"
    static const char TWO[] = ADASTRA "  - {name: genoa, cores_per_node: 192}\n";
    static const char *const devices[] = {"run.device=auto", "run.device=cpu", "run.device=cuda"};
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        expect_other_vendor(ADASTRA, devices[i], "site, this one's profile has neither");
        expect_other_vendor(TWO, devices[i], "slurm.partition");
    }
    for (size_t i = 0; i < 2; i++) { /* control: the advice, with run.device as it was */
        const char *const words[] = {"slurm.partition=genoa", devices[i], "slurm.account=a"};
        struct launch l;
        char room[4096];
        launch_with(&l, TWO, words, 3);
        if (l.requested.diagnostics.num_errors > 0)
            fail_msg("with %s: %s", devices[i], all_diagnostics(&l, room));
        launch_release(&l);
    }
#undef ADASTRA
}

/* --- a bundle, which brings its own MPI --- */

static char *script_of_bundle(struct launch *l, const char *profile, const char *const *overrides,
                              int count) {
    launch_with(l, profile, overrides, count);
    l->requested.facts.build = &BUNDLE;
    launch_again(l);
    return l->script;
}

static void test_bundle(void **state) {
    (void)state;
    static const char MIXED[] =
        "name: s\nmodules: [intel-mpi]\nenvironment: [{name: OMPI_MCA_btl, value: tcp}]\n"
        "partitions: [{name: p, modules: [arch/h100, cuda/12, OpenMPI/4, hdf5/1-mpi, nccl/2]}]\n";
    static const char ONLY[] = "name: s\npartitions: [{name: p, modules: [openmpi/4]}]\n";
    static const char *const asked[] = {"slurm.modules=[cuda/12, mvapich2/2]"},
                             *const fine[] = {"slurm.modules=[cuda/12]"};
    struct launch l;
    char room[4096];
    assert_non_null(script_of_bundle(&l, MIXED, NULL, 0));
    expect_in_script(&l, "load 'arch/h100'\nload 'cuda/12'\nload 'nccl/2'\n");
    assert_null(strstr(l.script, "OpenMPI"));
    assert_null(strstr(l.script, "hdf5"));
    assert_null(strstr(l.script, "intel"));
    expect_in_script(&l, "ATELIER_KEEP=\"${ATELIER_KEEP:+$ATELIER_KEEP }OMPI_MCA_btl\"");
    assert_non_null(
        strstr(all_diagnostics(&l, room), "not loaded are 'OpenMPI/4', 'hdf5/1-mpi', 'intel-mpi'"));
    launch_release(&l);
    /* Nothing is left to load: no word of modules at all. */
    assert_non_null(script_of_bundle(&l, ONLY, NULL, 0));
    assert_null(strstr(l.script, "module"));
    launch_release(&l);
    assert_null(script_of_bundle(&l, MIXED, asked, 1));
    assert_non_null(strstr(all_diagnostics(&l, room),
                           "'slurm.modules' holds 'mvapich2/2', but '/opt/atelier' is a bundle"));
    launch_release(&l);
    assert_non_null(script_of_bundle(&l, MIXED, fine, 1));
    launch_release(&l);
    /* Control: a program that was built on the machine gets them all. */
    launch_with(&l, MIXED, NULL, 0);
    expect_in_script(
        &l, "load 'cuda/12'\nload 'OpenMPI/4'\nload 'hdf5/1-mpi'\nload 'nccl/2'\nload 'intel-mpi'\n");
    assert_null(strstr(l.script, "ATELIER_KEEP"));
    launch_release(&l);
}

/* --- the script's modules, run --- */

static void put_file(const char *folder, const char *name, const char *text) {
    struct err err = {""};
    char *path = xasprintf("%s/%s", folder, name);
    if (file_replace(path, text, strlen(text), &err) != 0)
        fail_msg("%s", err.text);
    chmod(path, 0755);
    free(path);
}

/* A real 'module' as far as the script goes: it finds what lies in the folders of MODULEPATH. */
static const char REAL[] = "module() {\n"
                           "    case $1 in\n"
                           "    purge) echo purge >>\"$LOG\" ;;\n"
                           "    show | load)\n"
                           "        for folder in $(echo \"${MODULEPATH:-}\" | tr : ' '); do\n"
                           "            [ -e \"$folder/$2\" ] || continue\n"
                           "            [ $1 = load ] || return 0\n"
                           "            echo \"load $2\" >>\"$LOG\"\n"
                           "            export LOADEDMODULES=\"${LOADEDMODULES:+$LOADEDMODULES:}$2\"\n"
                           "            return 0\n"
                           "        done\n"
                           "        echo \"ERROR: Unable to locate a modulefile for '$2'\" >&2\n"
                           "        return 1 ;;\n"
                           "    esac\n"
                           "}\n";

/* As Tcl modules 3: what is not there is said on standard error, and the code is 0.  'gnu' is another name of gcc. */
static const char OLD[] =
    "module() {\n"
    "    case $1:$2 in\n"
    "    purge:) LOADEDMODULES='' ;;\n"
    "    load:gnu) LOADEDMODULES=\"${LOADEDMODULES:+$LOADEDMODULES:}gcc/11.4.1\" ;;\n"
    "    load:gcc | load:gcc/11 | load:gcc@11) case $LOADEDMODULES in *gcc*) ;; *) LOADEDMODULES=gcc/11.4.1 ;; esac ;;\n"
    "    load:conflict) echo 'conflict(9):ERROR:150: Module conflict' >&2 ;;\n"
    "    show:gcc | show:gnu | show:conflict) echo 'a module that looks for ERRORS' >&2 ;;\n"
    "    *) echo \"ModuleCmd_Load.c(213):ERROR:105: Unable to locate a modulefile for '$2'\" >&2 ;;\n"
    "    esac\n"
    "    return 0\n"
    "}\n";

/* run_script - by bash, with a login shell that says MODULEPATH is login_path; returns what it wrote,
 * malloc'ed, the log of modules after it. */
static char *run_script(const char *folder, const char *script, const char *login_path) {
    char *text = xasprintf(
        "cd '%s' && rm -f log && printf 'export MODULEPATH=%%s\\n' '%s' >.bash_profile && "
        "env -i PATH=\"$PWD:$PATH\" HOME=\"$PWD\" LOG=\"$PWD/log\" SLURM_JOB_ID=7 bash ./job.sh 2>&1; "
        "echo \"code $?\"; cat log 2>/dev/null; true",
        folder, login_path);
    const char *const argv[] = {"bash", "-c", text, NULL};
    put_file(folder, "job.sh", script);
    struct err err = {""};
    char *out = subprocess_ask(argv, 20, &err);
    if (!out)
        fail_msg("%s", err.text);
    free(text);
    return out;
}

static void expect_run(const char *folder, const char *profile, const char *login_path, const char *wanted) {
    struct launch l;
    char *program = xasprintf("%s/atelier", folder);
    launch_with(&l, profile, NULL, 0);
    l.requested.facts.program = program;
    l.requested.facts.working_folder = folder;
    launch_again(&l);
    char *got = run_script(folder, l.script, login_path);
    if (!strstr(got, wanted))
        fail_msg("expected '%s' in:\n%s\nof:\n%s", wanted, got, l.script);
    free(got);
    free(program);
    launch_release(&l);
}

static void test_modules_run(void **state) {
    (void)state;
    char folder[] = "/tmp/atelier-modules-XXXXXX";
    assert_non_null(mkdtemp(folder));
    put_file(folder, "atelier",
             "#!/bin/sh\n[ \"$1 $3\" != 'chain begin' ] || exit 0\n[ \"$1\" != chain ] || exit \"$4\"\n");
    put_file(folder, "srun", "#!/bin/sh\nexit 0\n");
    put_file(folder, "stub", "module() { return 1; }\n");
    put_file(folder, "real", REAL);
    char *sub = xasprintf("%s/modules", folder);
    mkdir(sub, 0755);
    put_file(sub, "gcc", "");
    put_file(sub, "mpi", "");
    char *base = xasprintf(
        "name: s\npartitions: [{name: p, modules: [gcc, mpi]}]\nmodule_init: [%s/none, %s/stub, %s/real]\n",
        folder, folder, folder);
    char *with_path = xasprintf("%smodule_path: [%s]\n", base, sub);
    char *only_stub =
        xasprintf("name: s\npartitions: [{name: p, modules: [gcc]}]\nmodule_init: [%s/stub]\n", folder);
    char *none =
        xasprintf("name: s\npartitions: [{name: p, modules: [gcc]}]\nmodule_init: [%s/none]\n", folder);
    char *missing =
        xasprintf("name: s\npartitions: [{name: p, modules: [gcc, hdf5]}]\nmodule_init: [%s/real]\n", folder);
    char *want = xasprintf("no module 'gcc' can be found on ");
    /* A stub does not count; a login shell knows the folders; the profile's own folders do as well. */
    expect_run(folder, base, sub, "code 0\npurge\nload gcc\nload mpi\n");
    expect_run(folder, with_path, "", "code 0\npurge\nload gcc\nload mpi\n");
    expect_run(folder, base, "/nowhere", want);
    expect_run(folder, only_stub, sub, want);
    expect_run(folder, none, sub, "the command 'module' is not known on ");
    expect_run(folder, missing, sub, "module 'hdf5' could not be loaded");
    const char *const remove[] = {"rm", "-rf", folder, NULL};
    free(subprocess_ask(remove, 10, NULL));
    free(base), free(with_path), free(only_stub), free(none), free(missing), free(want), free(sub);
}

/* A module that was not loaded is never silent, whatever 'module load' ends with. */
static void test_old_modules(void **state) {
    (void)state;
    static const struct {
        const char *modules, *wanted;
    } cases[] = {{"gcc", "code 0\n"},
                 {"gnu", "code 0\n"},                 /* loaded under another name */
                 {"gcc, gcc/11, gcc@11", "code 0\n"}, /* loaded already */
                 {"gcc, hdf5", "module 'hdf5' could not be loaded on "},
                 {"hdf5, gcc", "no module 'hdf5' can be found on "},
                 {"gcc, conflict", "module 'conflict' could not be loaded on "},
                 {"gcc, gc", "module 'gc' could not be loaded on "}};
    char folder[] = "/tmp/atelier-modules-XXXXXX";
    assert_non_null(mkdtemp(folder));
    put_file(folder, "atelier",
             "#!/bin/sh\n[ \"$1 $3\" != 'chain begin' ] || exit 0\n[ \"$1\" != chain ] || exit \"$4\"\n");
    put_file(folder, "srun", "#!/bin/sh\nexit 0\n");
    put_file(folder, "old", OLD);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *profile =
            xasprintf("name: s\npartitions: [{name: p, modules: [%s]}]\nmodule_init: [$OLD_FOLDER/old]\n",
                      cases[i].modules);
        setenv("OLD_FOLDER", folder, 1);
        expect_run(folder, profile, "", cases[i].wanted);
        free(profile);
    }
    unsetenv("OLD_FOLDER");
    const char *const remove[] = {"rm", "-rf", folder, NULL};
    free(subprocess_ask(remove, 10, NULL));
}

/* Environment variables: expanded in what names files of the site, by the rule of the run file's paths; told elsewhere. */
static void test_variables(void **state) {
    (void)state;
    static const char PROFILE[] =
        "name: s\nlauncher: [apptainer, exec, --bind, '$IMAGES:/data', '${IMAGES}/a.sif', 'costs 5$$', '$@']\n"
        "module_path: [$IMAGES/modules]\npartitions: [{name: p, modules: [gcc]}]\n";
    static const char *const own[] = {"slurm.launcher=[run, $IMAGES/b.sif]"},
                             *const told[] = {"slurm.environment=[{name: CACHE, value: $IMAGES/cache}]",
                                              "slurm.options=['--comment=${IMAGES}']",
                                              "slurm.launcher=[run]"};
    char room[4096];
    struct launch l;
    setenv("IMAGES", "/scratch/it's mine", 1);
    launch_with(&l, PROFILE, NULL, 0);
    expect_in_script(
        &l, "'apptainer' 'exec' '--bind' '/scratch/it'\\''s mine:/data' '/scratch/it'\\''s mine/a.sif' "
            "'costs 5$' '$@' \"$atelier\" train");
    expect_in_script(&l, "MODULEPATH:}\"'/scratch/it'\\''s mine/modules'; fi");
    launch_release(&l);
    launch_with(&l, PROFILE, own, 1);
    expect_in_script(&l, "'run' '/scratch/it'\\''s mine/b.sif' \"$atelier\" train");
    launch_release(&l);
    launch_with(&l, PROFILE, told, 3);
    expect_in_script(&l, "export CACHE='$IMAGES/cache'");
    all_diagnostics(&l, room);
    assert_non_null(strstr(room, "'slurm.environment' holds '$IMAGES/cache': the '$' stays as it is"));
    assert_non_null(strstr(room, "'slurm.options' holds '--comment=${IMAGES}': the '$' stays as it is"));
    launch_release(&l);
    setenv("IMAGES", "/scratch\nid", 1); /* a variable is not a way around the rules */
    launch_with(&l, PROFILE, NULL, 0);
    assert_true(!l.script && !l.requested.request.has_script);
    assert_non_null(strstr(all_diagnostics(&l, room), "'launcher' holds a line break"));
    launch_release(&l);
    unsetenv("IMAGES");
    launch_with(&l, PROFILE, NULL, 0);
    assert_null(l.script);
    all_diagnostics(&l, room);
    assert_non_null(
        strstr(room, "'launcher' holds '$IMAGES:/data': the environment variable 'IMAGES' is not set here"));
    assert_non_null(strstr(room, "'module_path' holds '$IMAGES/modules': the environment variable 'IMAGES'"));
    launch_release(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_launch),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_vendor),      cmocka_unit_test(test_bundle),
        cmocka_unit_test(test_modules_run), cmocka_unit_test(test_old_modules),
        cmocka_unit_test(test_variables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
