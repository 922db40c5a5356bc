/* run_status.c - the tail of metrics.jsonl, the log and the newest checkpoint, read into one struct. */
#include "train/record/run_status.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoints/checkpoint/checkpoint.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "kernels/units.h"
#include "train/record/divergence.h"

/* Enough for some hundred lines: the speed is that of now, not of the whole run. */
enum { TAIL_BYTES = 64 * KIB, NUM_RECENT = 20 };

/* read_tail - the last bytes of a file, NUL-terminated; malloc'ed, NULL where it cannot be read. */
static char *read_tail(const char *path, struct stat *facts) {
    int fd = file_open_read(path, NULL, NULL);
    if (fd < 0)
        return NULL;
    char *text = NULL;
    if (fstat(fd, facts) == 0) {
        off_t start = facts->st_size > TAIL_BYTES ? facts->st_size - TAIL_BYTES : 0;
        text = xcalloc(TAIL_BYTES + 1, 1);
        ssize_t length = pread(fd, text, TAIL_BYTES, start);
        text[length > 0 ? length : 0] = '\0';
    }
    close(fd);
    return text;
}

/* The last steps, for their mean speed. */
struct recent {
    double seconds[NUM_RECENT];
    int64_t tokens[NUM_RECENT];
    int count;
};

/* take_step - fields that are absent are those of older versions: without "update" every step counts as one. */
static void take_step(struct run_status *status, struct recent *recent, const json_t *object, int64_t step) {
    double seconds = 0;
    int64_t tokens = 0;
    status->last_step = step;
    const char *skipped;
    json_get_int_or(object, "update", step, &status->updates, NULL);
    json_get_int_or(object, "diverged_since", 0, &status->diverged_since, NULL);
    status->diverged_before = divergence_past_take(json_object_get(object, "diverged_before"));
    json_get_int_or(object, "still_since", 0, &status->still_since, NULL);
    bool learnt =
        json_get_string_or(object, "skipped", "", &skipped, NULL) != 0 || strcmp(skipped, "no targets") != 0;
    if (json_get_double(object, "loss", &status->loss, NULL) != 0 && learnt)
        status->loss = NAN; /* written as null where it was not finite */
    if (json_get_double_or(object, "seconds", 0, &seconds, NULL) != 0 ||
        json_get_int_or(object, "tokens", 0, &tokens, NULL) != 0 || !(seconds > 0))
        return;
    recent->seconds[recent->count % NUM_RECENT] = seconds;
    recent->tokens[recent->count % NUM_RECENT] = tokens;
    recent->count++;
}

/* take_start - a start that goes on after this step: what was told of later ones is no longer the run's. */
static void take_start(struct run_status *status, struct recent *recent, const json_t *object, int64_t step) {
    json_get_int_or(object, "steps", status->num_steps, &status->num_steps, NULL);
    recent->count = 0;
    if (step < status->last_step || step == 0) {
        status->loss = status->valid_loss = NAN;
        status->updates = step;
    }
    status->last_step = step;
}

/* take_line - a line that is no JSON, such as the first of a tail that is cut, or of an event that is not known, is
 * passed over. */
static void take_line(struct run_status *status, struct recent *recent, const char *line, size_t length) {
    json_t *object = json_parse_text(line, length, "metrics.jsonl", NULL);
    const char *event;
    int64_t step;
    if (object && json_get_int(object, "after_step", &step, NULL) == 0)
        take_start(status, recent, object, step);
    else if (object && json_get_int(object, "step", &step, NULL) == 0 &&
             json_get_string_or(object, "event", "", &event, NULL) == 0) {
        if (!event[0])
            take_step(status, recent, object, step);
        else if (strcmp(event, "validation") == 0)
            json_get_double(object, "loss", &status->valid_loss, NULL);
        else if (strcmp(event, "checkpoint") == 0)
            json_get_double(object, "seconds", &status->checkpoint_s, NULL);
    }
    json_decref(object);
}

void run_status_take_metrics(struct run_status *status, const char *text) {
    struct recent recent = {.count = 0};
    while (*text) {
        size_t length = strcspn(text, "\n");
        if (text[length] == '\n') /* a last line without its end is still being written */
            take_line(status, &recent, text, length);
        text += length + (text[length] == '\n');
    }
    int num_kept = recent.count < NUM_RECENT ? recent.count : NUM_RECENT;
    double seconds = 0, tokens = 0;
    for (int i = 0; i < num_kept; i++) {
        seconds += recent.seconds[i];
        tokens += (double)recent.tokens[i];
    }
    if (num_kept > 0) {
        status->step_s = seconds / num_kept;
        status->tokens_per_s = tokens / seconds;
    }
}

/* take_log - "step 12/400": the number of steps is nowhere else while the run has no checkpoint. */
static void take_log(struct run_status *status, const char *text) {
    for (const char *at = text; (at = strstr(at, "step ")); at += 5) {
        long long step, num_steps;
        if (sscanf(at, "step %lld/%lld ", &step, &num_steps) == 2 && num_steps > 0)
            status->num_steps = num_steps;
    }
}

/* take_checkpoint - the newest complete one; a folder without any leaves the fields empty. */
static void take_checkpoint(struct run_status *status, const char *run_folder) {
    struct err err = {""};
    char *best = checkpoint_best(run_folder, &status->best_step, &err);
    if (!best)
        status->best_step = 0;
    free(best);
    char *path = checkpoint_latest(run_folder, &status->checkpoint_step, &err);
    if (!path)
        return;
    const char *slash = strrchr(path, '/');
    snprintf(status->checkpoint, sizeof status->checkpoint, "%s", slash ? slash + 1 : path);
    char *suspect = divergence_suspect(path);
    snprintf(status->suspect, sizeof status->suspect, "%s", suspect ? suspect : "");
    free(suspect);
    free(path);
}

/* The files are read without a lock, while a run appends to them: each line is whole or has no end yet. */
int run_status_read(struct run_status *status, const char *run_folder, struct err *err) {
    struct stat facts;
    *status = (struct run_status){.loss = NAN, .valid_loss = NAN};
    if (stat(run_folder, &facts) != 0)
        return err_set(err, "cannot look at '%s': %s", run_folder, strerror(errno));
    if (!S_ISDIR(facts.st_mode) || access(run_folder, R_OK | X_OK) != 0)
        return err_set(err, "cannot look at '%s': %s", run_folder,
                       S_ISDIR(facts.st_mode) ? strerror(errno) : "it is not a folder");
    char *path = xasprintf("%s/metrics.jsonl", run_folder), *text = read_tail(path, &facts);
    if (text) {
        run_status_take_metrics(status, text);
        status->last_sign_of_life = facts.st_mtime;
    }
    free(text);
    free(path);
    path = xasprintf("%s/log.txt", run_folder);
    text = read_tail(path, &facts);
    if (text)
        take_log(status, text);
    free(text);
    free(path);
    take_checkpoint(status, run_folder);
    return 0;
}

double run_status_eta_s(const struct run_status *status) {
    if (status->num_steps <= 0 || status->step_s <= 0)
        return -1;
    return (double)(status->num_steps - status->last_step) * status->step_s;
}
