/* test_ranks_saving.c - a checkpoint that is written from a snapshot while the training goes on (run with 1, 2, 3 and 4 ranks,
 * at every stage): every file has the bytes of one that the training waited for, though the weights have moved meanwhile.
 * Until all ranks have agreed that it is whole, no reader finds it; where it fails, nothing is found.  Controls: a snapshot of a
 * step later has other bytes, and so has a checkpoint of the weights as they are when the writing ends. */
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/file.h"
#include "tests/tiny_run.h"
#include "train/model/snapshot.h"
#include "train/ranks/comm.h"

enum { STEP = 3, LATER_STEPS = 3 };
static const double PATIENT_S = 1e6;

static struct comm *comm;

static const struct config CONFIG = {
    .optimizer = {.learning_rate = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1}};

/* A run: its stage, its types, its optimizer. */
struct variant {
    int zero_stage;
    enum dtype compute, moments;
    const struct optimizer_kind *optimizer;
};

static const struct variant VARIANTS[] = {
    {0, DTYPE_F32, DTYPE_F32, &optimizer_adamw},   {1, DTYPE_F32, DTYPE_F32, &optimizer_adamw},
    {2, DTYPE_BF16, DTYPE_BF16, &optimizer_adamw}, {3, DTYPE_BF16, DTYPE_F32, &optimizer_adamw},
    {0, DTYPE_BF16, DTYPE_F32, &optimizer_muon},   {3, DTYPE_F32, DTYPE_F32, &optimizer_muon},
};
enum { NUM_VARIANTS = sizeof VARIANTS / sizeof *VARIANTS };

static void open_run(struct tiny *t, const struct variant *v) {
    tiny_open(t, (struct tiny_setup){.comm = comm,
                                     .zero_stage = v->zero_stage,
                                     .snapshots = true,
                                     .compute = v->compute,
                                     .moments = v->moments,
                                     .optimizer = v->optimizer});
    t->config.dtype = DTYPE_BF16; /* the model's files are rounded */
}

static void train(struct tiny *t, int first, int count) {
    for (int i = 0; i < count; i++)
        tiny_step(t, &CONFIG, first + i);
}

/* fresh_folder - a run folder, made by the root; freed with free().  Collective. */
static char *fresh_folder(const char *name) {
    char *folder = comm_is_root(comm) ? test_folder(name) : NULL;
    comm_broadcast_text(comm, &folder);
    return folder;
}

static struct state_save save_of(const struct tiny *t, const char *run_folder) {
    return (struct state_save){.run_folder = run_folder,
                               .step = STEP,
                               .source = {.config = &t->config, .max_file_bytes = 9000},
                               .state_text = "{\"step\": 3}",
                               .owns_folder = tiny_owns};
}

/* --- what lies in two folders --- */

/* same_file - whether both are there with the same bytes. */
static bool same_file(const char *a, const char *b) {
    enum { MOST = 1 << 24 };
    struct err err;
    size_t a_bytes, b_bytes;
    char *a_text = file_read_whole(a, MOST, &a_bytes, &err),
         *b_text = file_read_whole(b, MOST, &b_bytes, &err);
    bool same = a_text && b_text && a_bytes == b_bytes && memcmp(a_text, b_text, a_bytes) == 0;
    free(a_text);
    free(b_text);
    return same;
}

/* num_same - files of folder a, of which *differing are absent in b or have other bytes. */
static int count_files(const char *a, const char *b, int *num_differing) {
    DIR *folder = opendir(a);
    int count = 0;
    for (const struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "state") == 0)
            continue;
        char *a_path = xasprintf("%s/%s", a, entry->d_name), *b_path = xasprintf("%s/%s", b, entry->d_name);
        *num_differing += !same_file(a_path, b_path);
        count++;
        free(a_path);
        free(b_path);
    }
    if (folder)
        closedir(folder);
    return count;
}

/* num_differing - files of the checkpoints of two run folders. */
static int num_differing(const char *a, const char *b) {
    static const char *const parts[] = {"step-000003", "step-000003/state"};
    int differing = 0;
    for (int i = 0; i < 2; i++) {
        char *a_path = xasprintf("%s/%s", a, parts[i]), *b_path = xasprintf("%s/%s", b, parts[i]);
        int ignored = 0, count = count_files(a_path, b_path, &differing);
        assert_true(count >= 3);
        assert_int_equal(count_files(b_path, a_path, &ignored), count);
        free(a_path);
        free(b_path);
    }
    return differing;
}

/* is_found - a reader of the run folder has something to go on from, or there are names of a checkpoint. */
static bool is_found(const char *run_folder) {
    int64_t step;
    struct err err = {""};
    char *path = checkpoint_latest(run_folder, &step, &err),
         *folder = xasprintf("%s/step-000003", run_folder);
    bool found = path || access(folder, F_OK) == 0;
    free(path);
    free(folder);
    return found;
}

/* --- tests --- */

static void nap(void) {
    nanosleep(&(struct timespec){0, 20000000}, NULL);
}

/* write_beside - from a snapshot of now, while LATER_STEPS are trained; the looks as a run has them, after each step and then
 * until it is over. */
static void write_beside(struct tiny *t, const char *folder) {
    struct state_save save = save_of(t, folder);
    double worked_s;
    snapshot_take(&t->params);
    struct saving *saving = saving_begin(&t->params, comm, &save);
    assert_non_null(saving);
    for (int i = 0; i < LATER_STEPS; i++) {
        train(t, STEP + 1 + i, 1);
        saving_is_over(saving, PATIENT_S);
    }
    while (!saving_is_over(saving, PATIENT_S))
        nap();
    assert_true(saving_end(saving, &worked_s));
    assert_true(worked_s > 0);
}

static void test_same_bytes(void **state) {
    (void)state;
    for (int v = 0; v < NUM_VARIANTS; v++) {
        struct tiny t;
        char *waited = fresh_folder("saving-waited"), *beside = fresh_folder("saving-beside"),
             *moved = fresh_folder("saving-moved"), *later = fresh_folder("saving-later");
        open_run(&t, &VARIANTS[v]);
        train(&t, 1, STEP);
        struct state_save save = save_of(&t, waited), save_moved = save_of(&t, moved);
        assert_true(state_save(&t.params, comm, &save));
        write_beside(&t, beside);
        assert_int_equal(num_differing(waited, beside), 0);
        /* Controls. */
        assert_true(state_save(&t.params, comm, &save_moved));
        assert_true(num_differing(moved, beside) > 3);
        write_beside(&t, later);
        assert_int_equal(num_differing(moved, later), 0);
        assert_true(num_differing(later, beside) > 3);
        comm_barrier(comm);
        tiny_close(&t);
        free(waited), free(beside), free(moved), free(later);
    }
}

/* On several ranks nothing has the checkpoint's name before they have agreed after each phase, however long it lasts. */
static void test_found_after_the_vote(void **state) {
    (void)state;
    struct tiny t;
    char *folder = fresh_folder("saving-vote");
    double worked_s;
    int num_looks = 0;
    open_run(&t, &VARIANTS[2]);
    struct state_save save = save_of(&t, folder);
    snapshot_take(&t.params);
    struct saving *saving = saving_begin(&t.params, comm, &save);
    for (bool is_over = false; !is_over; num_looks++) {
        if (comm_num_ranks(comm) > 1 && num_looks < 3) {
            nap();
            assert_false(is_found(folder));
        }
        comm_barrier(comm);
        is_over = saving_is_over(saving, 0); /* its time is over: each look waits for a phase */
    }
    assert_int_equal(num_looks, comm_num_ranks(comm) > 1 ? 4 : 1);
    assert_true(saving_end(saving, &worked_s));
    comm_barrier(comm);
    assert_true(is_found(folder));
    tiny_close(&t);
    free(folder);
}

/* A folder that nothing can be made in: told once by the root, false on all ranks, and nothing is found. */
static void test_failure(void **state) {
    (void)state;
    struct tiny t;
    char *folder = fresh_folder("saving-failure"), *file = xasprintf("%s/run", folder);
    double worked_s;
    struct err err;
    if (comm_is_root(comm))
        assert_int_equal(file_create(file, "in its place", 12, &err), 0);
    open_run(&t, &VARIANTS[0]);
    struct state_save save = save_of(&t, file);
    snapshot_take(&t.params);
    struct saving *saving = saving_begin(&t.params, comm, &save);
    while (!saving_is_over(saving, PATIENT_S))
        nap();
    assert_false(saving_end(saving, &worked_s));
    assert_false(state_save(&t.params, comm, &save));
    tiny_close(&t);
    free(file);
    free(folder);
}

int main(int argc, char **argv) {
    comm = comm_start(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_found_after_the_vote),
        cmocka_unit_test(test_failure),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_finish(comm);
    return failed;
}
