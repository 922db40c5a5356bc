/* test_checkpoint_crash.c - the promise "complete or absent": checkpoints stopped after each phase, cut
 * between any two renames, killed at random moments, on a full disk. */
#include "kernels/clock.h"
#include "tests/checkpoint_fixture.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/rng.h"

static void test_stop_after_each_phase(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    struct err err;
    for (int before = 0; before < 2; before++)
        for (int last = PHASE_BEGIN; last < PHASE_COMMIT; last++) {
            char *run = test_folder("checkpoint_phase");
            if (before)
                save(run, &source, 10, 0);
            assert_int_equal(
                write_checkpoint((struct writing){run, &source, 20, 2, 0, (enum phase)last, NULL}, &err), 0);
            assert_true(has(run, "step-000020.partial"));
            assert_latest(run, before ? 10 : -1);
            save(run, &source, 30, 0); /* the next one cleans up and succeeds */
            assert_latest(run, 30);
            assert_false(has(run, "step-000020.partial"));
            drop(run);
        }
}

/* test_names - each state in which a commit or a deletion can be cut, made by hand. */
static void test_names(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    char *run = test_folder("checkpoint_names");
    assert_latest(run, -1);
    save(run, &source, 10, 0);
    save(run, &source, 20, 0);
    put(run, "latest", "step-000010\n"); /* cut before `latest` moved, or the user goes back */
    assert_latest(run, 10);
    put(run, "latest", "step-000030\n"); /* names nothing */
    assert_not_chosen(run,
                      "names step-000030, which is not there; complete are step-000020 (the run's own line)");
    put(run, "latest", "../../etc");
    assert_not_chosen(run, "is damaged");
    move(run, "latest", "latest.lost");
    assert_latest(run, 20);
    move(run, "step-000020", "step-000020.partial"); /* all written, cut before the rename */
    assert_latest(run, 10);
    move(run, "step-000020.partial", "step-000020.deleting"); /* cut while deleting */
    assert_latest(run, 10);
    move(run, "step-000020.deleting", "step-000020.replaced"); /* cut while being replaced */
    assert_latest(run, 20);
    move(run, "step-000010", "step-000010.deleting");
    save(run, &source, 30, 0); /* puts .replaced back, removes .deleting */
    assert_true(has(run, "step-000020"));
    assert_false(has(run, "step-000020.replaced") || has(run, "step-000010.deleting"));
    assert_latest(run, 30);
    move(run, "step-000030", "step-30"); /* not a name of ours */
    assert_not_chosen(run, "names step-000030, which is not there");
    move(run, "latest", "latest.lost");
    assert_latest(run, 20);
    drop(run);
}

static void test_damaged_newest_is_refused(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    char *run = test_folder("checkpoint_damaged");
    save(run, &source, 10, 0);
    save(run, &source, 20, 0);
    char *path = path_of(run, "step-000020/state/adam_v.safetensors");
    assert_int_equal(truncate(path, 5000), 0);
    free(path);
    assert_not_chosen(run, "names step-000020, which is not complete");
    assert_not_chosen(run, "echo step-000010 >");
    put(run, "latest", "step-000010\n"); /* the way out that it names */
    assert_latest(run, 10);
    path = path_of(run, "step-000010/manifest.json");
    assert_int_equal(unlink(path), 0);
    free(path);
    struct err err;
    int64_t step;
    assert_null(
        checkpoint_latest(run, &step, &err)); /* not as if there were none: the run must not start anew */
    assert_non_null(strstr(err.text, "step-000010"));
    drop(run);
}

/* save_for_ever - the child that gets killed. */
static void save_for_ever(const char *run, const struct checkpoint_source *source, int64_t step) {
    struct err err;
    for (;; step++)
        if (write_checkpoint((struct writing){run, source, step, 2, 2, PHASE_COMMIT, NULL}, &err) != 0)
            _exit(3);
}

/* test_kill - a run killed 20 times, each time within the first three saves after its start: it always finds
 * a complete checkpoint, never an older one than before, and goes on from there. */
static void test_kill(void **state) {
    (void)state;
    enum { KILLS = 20 };
    const struct model_config config = small_config(2000);
    const struct checkpoint_source source = source_of(&config, NULL);
    char *run = test_folder("checkpoint_kill");
    double start = clock_s();
    save(run, &source, 0, 0);
    double save_s = clock_s() - start;
    int64_t step = 0;
    int cut_while_saving = 0;
    for (int kill_count = 0; kill_count < KILLS; kill_count++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            save_for_ever(run, &source, step + 1);
        double random = rng_uniform(7, rng_stream(RNG_TEST, 1), (uint64_t)kill_count);
        usleep((useconds_t)(random * 3e6 * save_s));
        int status;
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* and did not fail by itself */
        int64_t before = step;
        char *path = checkpoint_latest(run, &step, NULL);
        assert_non_null(path);
        assert_true(step >= before);
        char *partial = xasprintf("%s/step-%06lld.partial", run, (long long)step + 1);
        cut_while_saving += path_exists(partial);
        free(partial);
        free(path);
        assert_latest(run, step);
    }
    assert_true(cut_while_saving > 0); /* the kills did hit what they were meant to hit */
    save(run, &source, step + 1, 1); /* nothing but this one, `latest` and the history stays, no leftovers */
    assert_latest(run, step + 1);
    char *command = xasprintf("test \"$(ls '%s' | wc -l)\" -eq 3", run);
    assert_int_equal(system(command), 0);
    free(command);
    drop(run);
}

/* on_small_disk - a file system of 1 MB over folder, visible to this process alone; false where not allowed.
 */
static bool on_small_disk(const char *folder) {
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", folder, "tmpfs", 0, "size=1m") == 0;
}

static void test_full_disk(void **state) {
    (void)state;
    const struct model_config small = small_config(50), large = small_config(20000);
    const struct checkpoint_source source = source_of(&small, NULL), too_large = source_of(&large, NULL);
    struct err err = {""};
    char *run = test_folder("checkpoint_full");
    if (!on_small_disk(run)) {
        print_message("needs the right to mount a file system: skipped\n");
        drop(run);
        skip();
    }
    save(run, &source, 1, 0);
    struct writing w = {run, &too_large, 2, 2, 0, PHASE_COMMIT, NULL};
    assert_int_equal(write_checkpoint(w, &err), -1);
    assert_non_null(strstr(err.text, "checkpoint of step 2"));
    assert_non_null(strstr(err.text, "no space left"));
    assert_non_null(strstr(err.text, "free some space"));
    assert_latest(run, 1);
    assert_false(has(run, "step-000002.partial") || has(run, "step-000002"));
    /* The disk fills at the very end, with the last small file. */
    char *long_text = xmalloc(2 << 20);
    memset(long_text, ' ', (2 << 20) - 1);
    long_text[(2 << 20) - 1] = '\0';
    w = (struct writing){run, &source, 3, 2, 0, PHASE_COMMIT, long_text};
    assert_int_equal(write_checkpoint(w, &err), -1);
    assert_non_null(strstr(err.text, "no space left"));
    assert_latest(run, 1);
    assert_false(has(run, "step-000003.partial") || has(run, "step-000003"));
    save(run, &source, 4, 0); /* control: there is room for a small one */
    assert_latest(run, 4);
    free(long_text);
    assert_int_equal(umount(run), 0);
    drop(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop_after_each_phase),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_damaged_newest_is_refused),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
