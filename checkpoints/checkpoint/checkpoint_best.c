/* checkpoint_best.c - RUN/best: which checkpoint had the lowest validation loss.
 *
 * A link and not a text, as `latest` is: what takes the path of a model takes RUN/best, other programs, too.  It names a
 * folder beside itself and nothing else; it moves by a rename, so that readers see the old checkpoint or the new one. */
#include "checkpoints/checkpoint/checkpoint_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoints/files.h"

enum { TARGET_ROOM = 64 };

enum best_link best_link_read(const char *run_folder, int64_t *step) {
    char target[TARGET_ROOM], *path = xasprintf("%s/best", run_folder);
    struct step named;
    ssize_t length = readlink(path, target, sizeof target - 1);
    enum best_link state = length >= 0 || errno != ENOENT ? BEST_UNREADABLE : BEST_ABSENT;
    free(path);
    if (length <= 0)
        return state;
    target[length] = '\0'; /* a longer one is cut, and then no step's name */
    if (strlen(target) != (size_t)length || !step_parse(target, &named) || named.state != STEP_COMPLETE)
        return BEST_UNREADABLE;
    *step = named.step;
    return BEST_NAMES;
}

/* refuse_other - what stands at RUN/best is not a link to a checkpoint: it is somebody's, and is neither read nor replaced. */
static int refuse_other(const char *run_folder, struct err *err) {
    return err_set(
        err,
        "'%.300s/best' is not a link to a checkpoint beside it: move it away; the next validation that is the "
        "best so far makes a new one (checkpoint.keep_best)",
        run_folder);
}

char *checkpoint_best(const char *run_folder, int64_t *step, struct err *err) {
    struct err why = {""};
    if (err)
        err->text[0] = '\0';
    switch (best_link_read(run_folder, step)) {
    case BEST_ABSENT:
        return NULL;
    case BEST_UNREADABLE:
        refuse_other(run_folder, err);
        return NULL;
    case BEST_NAMES:
        break;
    }
    char *path = step_complete_path(run_folder, *step, &why);
    if (!path)
        err_set(err, "'%.300s/best' names step-%06lld, which is %s%.300s", run_folder, (long long)*step,
                why.text[0] ? "not complete: " : "not there", why.text);
    return path;
}

/* The link is made under a temporary name, which a kill may leave; the next one replaces it. */
int checkpoint_set_best(const char *run_folder, int64_t step, struct err *err) {
    int64_t named;
    if (best_link_read(run_folder, &named) == BEST_UNREADABLE)
        return refuse_other(run_folder, err);
    char *path = xasprintf("%s/best", run_folder), *temporary = xasprintf("%s.tmp", path),
         *target = xasprintf("step-%06lld", (long long)step);
    int status = 0;
    if (unlink(temporary) != 0 && errno != ENOENT)
        status = err_set(err, "cannot remove '%s': %s", temporary, strerror(errno));
    else if (symlink(target, temporary) != 0)
        status = err_set(
            err,
            "cannot make the link '%s': %s; checkpoint.keep_best wants a file system that has symbolic links",
            temporary, strerror(errno));
    if (status == 0 && (status = file_rename(temporary, path, err)) != 0)
        unlink(temporary);
    free(path);
    free(temporary);
    free(target);
    return status;
}
