/* test_checkpoint_lineage.c - which checkpoint a run goes on from once it has gone back, lost `latest` or
 * lost checkpoints; what pruning touches and what it must leave; links that must not be written through. */
#include "checkpoints/model_folder.h"
#include "tests/checkpoint_fixture.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void remove_in(const char *folder, const char *name) {
    char *path = path_of(folder, name);
    assert_int_equal(folder_remove(path, NULL), 0);
    free(path);
}

/* branched - 10, 20, 30 on a line that is then left at 10 for 15. */
static char *branched(const char *name, const struct checkpoint_source *source) {
    char *run = test_folder(name);
    for (int64_t step = 10; step <= 30; step += 10)
        save(run, source, step, 0);
    put(run, "latest", "step-000010\n");
    save(run, source, 15, 0);
    return run;
}

static void test_latest_is_lost(void **state) {
    (void)state;
    static const char *const good[] = {"step-000015", "step-000015 \r\n"}, *const bad[] = {
                                                                               "step-000015 x\n",
                                                                               "step-000015\nstep-000010\n",
                                                                               "\n", ""};
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    char *run = branched("lineage_lost", &source);
    assert_latest(run, 15);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put(run, "latest", bad[i]);
        assert_not_chosen(run, "/latest' is damaged: it does not name a checkpoint");
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        put(run, "latest", good[i]);
        assert_latest(run, 15);
    }
    remove_in(run, "latest");
    assert_latest(run, 15); /* not 30, which is higher and abandoned */
    remove_in(run, "step-000015");
    assert_latest(run, 10); /* the parent, on the same line */
    remove_in(run, "step-000010");
    assert_not_chosen(run, "step-000030 (an abandoned line), step-000020 (an abandoned line)");
    assert_not_chosen(run, "checkpoint.from: ");
    remove_in(run, "step-000020");
    remove_in(run, "step-000030");
    assert_not_chosen(run, "saved step 15 and none of its checkpoints is left");
    remove_in(run, "history.jsonl");
    assert_latest(run, -1); /* control: where nothing was ever saved, a run may begin */
    drop(run);
}

/* Of a version that kept no lineage: one line in the order of the steps, as far as it can be told. */
static void test_without_history(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    char *run = branched("lineage_old", &source);
    remove_in(run, "history.jsonl");
    remove_in(run, "latest");
    assert_not_chosen(run, "cannot be told"); /* 15 and 30 both end a line */
    remove_in(run, "step-000015");
    assert_latest(run, 30);
    drop(run);
}

static void test_other_line_is_kept(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    char *run = branched("lineage_kept", &source), *found = NULL;
    save(run, &source, 20, 1); /* prunes 10 and 15, its own line; the abandoned 20 and 30 stay */
    assert_latest(run, 20);
    assert_true(has(run, "step-000030"));
    assert_false(has(run, "step-000010") || has(run, "step-000015"));
    struct lineage_name {
        const char *text;
    } command = {xasprintf("ls -d '%s'/step-000020.line-????????????????", run)};
    FILE *pipe = popen(command.text, "r");
    char line[512] = "";
    assert_non_null(fgets(line, sizeof line, pipe));
    assert_int_equal(pclose(pipe), 0);
    line[strcspn(line, "\n")] = '\0';
    found = line;
    assert_true(holds_step(found, 20, 1)); /* whole, under a name that no save takes */
    struct checkpoint_id one, other;
    char *path = path_of(run, "step-000020");
    assert_int_equal(checkpoint_identity(path, &one, NULL), 0);
    assert_int_equal(checkpoint_identity(found, &other, NULL), 0);
    assert_string_not_equal(one.id, other.id);
    free(path);
    free((char *)(uintptr_t)command.text);
    drop(run);
}

/* The same state by the same way is the same checkpoint: saved again after a crash it replaces itself. */
static void test_same_again(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    char *run = test_folder("lineage_same");
    save(run, &source, 10, 0);
    save(run, &source, 20, 0);
    put(run, "latest", "step-000010\n"); /* cut before `latest` moved */
    save(run, &source, 20, 0);
    assert_latest(run, 20);
    char *command = xasprintf("test \"$(ls '%s' | wc -l)\" -eq 4", run);
    assert_int_equal(system(command), 0);
    free(command);
    drop(run);
}

/* as_nobody - in a child without root's rights; returns its exit code. */
static int as_nobody(const char *run, const struct checkpoint_source *source, int64_t step) {
    enum { NOBODY = 65534 };
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err err = {""};
        struct writing w = {run, source, step, 2, 1, PHASE_COMMIT, NULL};
        if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
            _exit(4);
        _exit(write_checkpoint(w, &err) == 0 ? 0 : 3);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_protected_stays(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    char base[] = "/tmp/atelier-protected-XXXXXX"; /* where any user may go */
    assert_non_null(mkdtemp(base));
    assert_int_equal(chmod(base, 0777), 0);
    char *run = path_of(base, "run"), *old = path_of(base, "run/step-000010");
    assert_int_equal(as_nobody(run, &source, 10), 0);
    assert_int_equal(chmod(old, 0555), 0);
    assert_int_equal(as_nobody(run, &source, 20), 0); /* keep is 1: the old one should go, and cannot */
    assert_latest(run, 20);
    assert_true(has(run, "step-000010"));
    assert_false(has(run, "step-000010.deleting"));
    assert_true(holds_step(old, 10, 1));
    assert_int_equal(as_nobody(run, &source, 30), 0); /* and training goes on */
    assert_true(has(run, "step-000010") && has(run, "step-000030"));
    assert_false(has(run, "step-000020"));
    assert_int_equal(chmod(old, 0777), 0);
    assert_int_equal(as_nobody(run, &source, 40), 0); /* control: once it may, it goes */
    assert_false(has(run, "step-000010"));
    assert_int_equal(folder_remove(base, NULL), 0);
    free(old);
    free(run);
}

/* A disk with room for two checkpoints and a half: the older one goes before the save, not after it. */
static void test_room_is_made(void **state) {
    (void)state;
    const struct model_config config = small_config(6000);
    const struct checkpoint_source source = source_of(&config, NULL);
    char *run = test_folder("lineage_room");
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", run, "tmpfs", 0, "size=14m") != 0) {
        print_message("needs the right to mount a file system: skipped\n");
        drop(run);
        skip();
    }
    struct err err = {""};
    save(run, &source, 10, 2);
    save(run, &source, 20, 2);
    struct writing all = {run, &source, 30, 2, 0, PHASE_COMMIT, NULL};
    assert_int_equal(write_checkpoint(all, &err), -1); /* control: keep 0 allows nothing to go */
    assert_non_null(strstr(err.text, "no space left"));
    assert_true(has(run, "step-000010") && has(run, "step-000020"));
    save(run, &source, 30, 2);
    assert_latest(run, 30);
    assert_false(has(run, "step-000010"));
    assert_true(has(run, "step-000020"));
    assert_int_equal(umount(run), 0);
    drop(run);
}

static void test_links(void **state) {
    (void)state;
    char *folder = test_folder("links"), *victim = path_of(folder, "victim");
    const char *const names[] = {"latest.tmp", "LICENSE"};
    for (int i = 0; i < 2; i++) {
        char *link = path_of(folder, names[i]), *target = path_of(folder, "latest");
        put(folder, "victim", "mine");
        assert_int_equal(symlink("victim", link), 0);
        assert_int_equal((i == 0 ? file_replace(target, "new", 3, NULL) : file_create(link, "new", 3, NULL)),
                         0);
        assert_file_text(folder, "victim", "mine");
        assert_file_text(folder, i == 0 ? "latest" : "LICENSE", "new");
        free(target);
        free(link);
    }
    char *sized = path_of(folder, "sized");
    assert_int_equal(symlink("victim", sized), 0);
    int fd = file_create_sized(sized, 10, NULL);
    assert_true(fd >= 0);
    close(fd);
    assert_file_text(folder, "victim", "mine");
    assert_int_equal(file_size(sized, NULL), 10);
    free(sized);
    free(victim);
    drop(folder);
}

/* A model's LICENSE may be a link to another LICENSE or into the Hub's cache, and not to any file at all. */
static void test_carried_links(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    char *run = test_folder("carried"), *base = test_folder("carried_base");
    struct checkpoint_source source = source_of(&config, base);
    char *license = path_of(base, "LICENSE"), *notice = path_of(base, "NOTICE"),
         *policy = path_of(base, "USE_POLICY.md"), *blobs = path_of(base, "blobs"),
         *elsewhere = path_of(base, "elsewhere");
    assert_int_equal(folder_create(blobs, NULL), 0);
    assert_int_equal(folder_create(elsewhere, NULL), 0);
    put(base, "id_rsa", "secret");
    put(elsewhere, "NOTICE", "noted");
    put(blobs, "0123abcd", "policy");
    assert_int_equal(symlink("id_rsa", license), 0);
    assert_int_equal(symlink("elsewhere/NOTICE", notice), 0);
    assert_int_equal(symlink("blobs/0123abcd", policy), 0);
    save(run, &source, 1, 0);
    char *folder = path_of(run, "step-000001");
    assert_false(has(folder, "LICENSE"));
    assert_file_text(folder, "NOTICE", "noted");
    assert_file_text(folder, "USE_POLICY.md", "policy");
    free(folder);
    free(elsewhere);
    free(blobs);
    free(policy);
    free(notice);
    free(license);
    drop(base);
    drop(run);
}

/* A small file of a base model that cannot be read is found out before a training, and costs no checkpoint after it. */
static void test_unreadable_files(void **state) {
    (void)state;
    const struct model_config config = small_config(50);
    char *run = test_folder("unreadable"), *base = test_folder("unreadable_base");
    struct checkpoint_source source = source_of(&config, NULL);
    struct err err = {""};
    source.base_folder = base;
    put(base, "NOTICE", "free");
    put(base, "generation_config.json", "{}");
    assert_int_equal(model_folder_check(base, &err), 0);
    char *licence = path_of(base, "LICENSE");
    assert_int_equal(mkfifo(licence, 0600), 0);
    assert_int_equal(model_folder_check(base, &err), -1);
    assert_non_null(strstr(err.text, "/LICENSE': it is not a regular file but a FIFO"));
    save(run, &source, 10, 0);
    char *folder = path_of(run, "step-000010");
    assert_true(has(folder, "NOTICE"));
    assert_false(has(folder, "LICENSE"));
    assert_int_equal(unlink(licence), 0);
    put(base, "generation_config.json", "{");
    assert_int_equal(model_folder_check(base, &err), -1);
    assert_non_null(strstr(err.text, "/generation_config.json' as JSON"));
    free(licence);
    free(folder);
    drop(base);
    drop(run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unreadable_files),
        cmocka_unit_test(test_latest_is_lost),
        cmocka_unit_test(test_without_history),
        cmocka_unit_test(test_other_line_is_kept),
        cmocka_unit_test(test_same_again),
        cmocka_unit_test(test_protected_stays),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_carried_links),
        cmocka_unit_test(test_room_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
