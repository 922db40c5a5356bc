/* tensorboard.c - the file of a start, and what of a step goes into it. */
#include "train/record/tensorboard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "kernels/clock.h"
#include "train/record/event_file.h"
#include "train/record/metrics_summary.h"

#define FILE_PREFIX "events.out.tfevents."

struct tensorboard {
    FILE *file;
    char *path;
    struct text event; /* the one that is being put together */
    bool has_failed;   /* a write did, and was warned about */
};

static double wall_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* put_event - and see that it is out of this process. */
static void put_event(struct tensorboard *board) {
    event_file_put(board->file, &board->event);
    if (fflush(board->file) == 0 && !ferror(board->file))
        return;
    clearerr(board->file);
    if (!board->has_failed)
        warn("cannot write '%s': %s; the run goes on without it", board->path, strerror(errno));
    board->has_failed = true;
}

/* next_second - now, or a second later than the newest file there: they are read in the order of their names, and the clock of
 * another node may have been ahead. */
static long long next_second(const char *folder) {
    long long second = (long long)time(NULL);
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries));)
        if (strncmp(entry->d_name, FILE_PREFIX, strlen(FILE_PREFIX)) == 0) {
            long long there = strtoll(entry->d_name + strlen(FILE_PREFIX), NULL, 10);
            if (there >= second && there < 9999999999) /* ten digits, or the order of names is another */
                second = there + 1;
        }
    if (entries)
        closedir(entries);
    return second;
}

int tensorboard_open(struct tensorboard **board, const char *run_folder, int64_t first_step,
                     struct err *err) {
    char host[65] = "host", *folder = xasprintf("%s/tensorboard", run_folder);
    *board = NULL;
    if (folder_create(folder, err) != 0) {
        free(folder);
        return -1;
    }
    gethostname(host, sizeof host - 1);
    char *path =
        xasprintf("%s/" FILE_PREFIX "%010lld.%s.%ld.0", folder, next_second(folder), host, (long)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    free(folder);
    if (!file) {
        err_set(err, "cannot make '%s': %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        free(path);
        return -1;
    }
    struct tensorboard *b = xcalloc(1, sizeof *b);
    b->file = file;
    b->path = path;
    event_version(&b->event, wall_s());
    put_event(b);
    event_start(&b->event, wall_s(), first_step > 0 ? first_step + 1 : 0); /* anew: nothing earlier counts */
    put_event(b);
    *board = b;
    return 0;
}

void tensorboard_close(struct tensorboard *board) {
    if (!board)
        return;
    fclose(board->file);
    text_release(&board->event);
    free(board->path);
    free(board);
}

/* --- what a step has --- */

/* add - a curve's point; what is not a number is none. */
static void add(struct tensorboard *board, const char *group, const char *name, double value) {
    char tag[64];
    if (!isfinite(value))
        return;
    snprintf(tag, sizeof tag, "%s/%s", group, name);
    event_value(&board->event, tag, value);
}

static void add_preference(struct tensorboard *board, const char *group, const struct preference_record *p) {
    if (!p->is_there)
        return;
    add(board, group, "rewards/chosen", p->chosen);
    add(board, group, "rewards/rejected", p->rejected);
    add(board, group, "rewards/margins", p->margin);
    add(board, group, "rewards/accuracies", p->accuracy);
    add(board, group, "kl", p->kl);
}

void tensorboard_step(struct tensorboard *board, const struct step_record *r, int64_t peak_bytes) {
    if (!board)
        return;
    event_begin(&board->event, wall_s(), r->step);
    add(board, "train", "loss", r->loss);
    add(board, "train", "grad_norm", r->grad_norm);
    add(board, "train", "learning_rate", r->learning_rate);
    add_preference(board, "train", &r->preference);
    if (r->is_taught) {
        add(board, "train", "cross_entropy", r->cross_entropy);
        add(board, "train", "kl", r->divergence);
    }
    if (r->router.has_losses) {
        add(board, "train", "load_balance", r->router.balance);
        add(board, "train", "router_z", r->router.z);
    }
    if (r->router.is_there) {
        add(board, "train", "fullest_expert", r->router.fullest);
        add(board, "train", "emptiest_expert", r->router.emptiest);
    }
    add(board, "speed", "tokens_per_s", r->seconds > 0 ? (double)r->tokens / r->seconds : NAN);
    add(board, "speed", "seconds", r->seconds);
    for (int p = 0; p < PHASE_COUNT; p++) {
        char name[32];
        snprintf(name, sizeof name, "%s_s", phase_name((enum phase)p));
        add(board, "phases", name, r->phase_s[p]);
    }
    add(board, "memory", "peak_bytes", (double)peak_bytes);
    put_event(board);
}

void tensorboard_validation(struct tensorboard *board, int64_t step, double loss,
                            const struct preference_record *preference) {
    if (!board)
        return;
    event_begin(&board->event, wall_s(), step);
    add(board, "valid", "loss", loss);
    add_preference(board, "valid", preference);
    put_event(board);
}

/* source_name - of a curve; malloc'ed. */
static char *source_name(const struct source_loss *sources, int64_t source) {
    struct text name = {0};
    bool is_twice = false;
    for (int64_t s = 0; s < source; s++)
        is_twice = is_twice || strcmp(sources[s].name, sources[source].name) == 0;
    text_append_repaired(&name, sources[source].name, strlen(sources[source].name));
    char *text = is_twice ? xasprintf("%.*s #%lld", (int)name.length_bytes, name.bytes ? name.bytes : "",
                                      (long long)source + 1)
                          : text_copy(name.bytes ? name.bytes : "", name.length_bytes);
    text_release(&name);
    return text;
}

/* add_source - a curve's point, as add; names are of any length. */
static void add_source(struct tensorboard *board, const char *group, const char *name, double value) {
    if (!isfinite(value))
        return;
    char *tag = xasprintf("%s/%s", group, name);
    event_value(&board->event, tag, value);
    free(tag);
}

void tensorboard_sources(struct tensorboard *board, int64_t step, double bits_per_byte,
                         const struct source_loss *sources, int64_t num_sources) {
    if (!board)
        return;
    event_begin(&board->event, wall_s(), step);
    add(board, "valid", "bits_per_byte", bits_per_byte);
    for (int64_t s = 0; s < num_sources && num_sources > 1; s++) {
        char *name = source_name(sources, s);
        add_source(board, "valid_loss", name, sources[s].loss);
        add_source(board, "valid_bits_per_byte", name, sources[s].bits_per_byte);
        free(name);
    }
    put_event(board);
}

void tensorboard_value(struct tensorboard *board, int64_t step, const char *tag, double value) {
    if (!board || !isfinite(value))
        return;
    event_begin(&board->event, wall_s(), step);
    event_value(&board->event, tag, value);
    put_event(board);
}
