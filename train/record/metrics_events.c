/* metrics_events.c - lines of metrics.jsonl that are not of a step or a validation: questions, slow ranks, checkpoints, what was
 * left out. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/units.h"
#include "train/record/metrics_inside.h"
#include "train/record/tensorboard.h"

/* put_json - a member whose value is a tree. */
static void put_json(FILE *out, const char *key, const json_t *json) {
    fprintf(out, ", \"%s\": ", key);
    json_dumpf(json, out, JSON_COMPACT | JSON_REAL_PRECISION(12));
}

void metrics_tasks(struct metrics *m, const struct tasks_record *record) {
    if (!m)
        return;
    struct run_totals *t = &m->totals;
    if (t->num_tasks++ == 0)
        t->first_acc = record->acc, t->first_acc_norm = record->acc_norm;
    t->last_acc = record->acc;
    t->last_acc_norm = record->acc_norm;
    t->num_task_items = record->num_items;
    t->last_task_step = record->step;
    fprintf(m->lines, "{\"event\": \"tasks\", \"step\": %lld", (long long)record->step);
    put_json(m->lines, "all", record->all);
    put_json(m->lines, "groups", record->groups);
    metrics_put_number(m->lines, "seconds", record->seconds, 6);
    metrics_end_line(m);
    metrics_flush(m, m->lines, "metrics.jsonl");
    tensorboard_value(m->board, record->step, "tasks/acc", record->acc);
    tensorboard_value(m->board, record->step, "tasks/acc_norm", record->acc_norm);
    if (record->num_items == 0)
        metrics_note(m, "step %lld  tasks: no item could be scored", (long long)record->step);
    else
        metrics_note(m, "step %lld  tasks: %.2f %% right, by characters %.2f %%  (%lld items, %.1f s)",
                     (long long)record->step, 100 * record->acc, 100 * record->acc_norm,
                     (long long)record->num_items, record->seconds);
}

void metrics_ranks(struct metrics *m, int64_t step, double median_s, double slowest_s, int slowest_rank,
                   const char *slowest_host) {
    if (!m)
        return;
    json_t *text = json_string(slowest_host); /* NULL when the name is not UTF-8 */
    char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    fprintf(m->lines, "{\"event\": \"ranks\", \"step\": %lld", (long long)step);
    metrics_put_number(m->lines, "compute_median_s", median_s, 6);
    metrics_put_number(m->lines, "compute_slowest_s", slowest_s, 6);
    fprintf(m->lines, ", \"slowest_rank\": %d, \"slowest_host\": %s", slowest_rank, quoted ? quoted : "null");
    metrics_end_line(m);
    free(quoted);
    json_decref(text);
    metrics_flush(m, m->lines, "metrics.jsonl");
}

/* What the summary says of validations is read anew: those of the steps that are left do not count. */
void metrics_go_back(struct metrics *m, int64_t step, int64_t from) {
    struct err err = {""};
    if (!m)
        return;
    struct run_totals *t = &m->totals;
    fprintf(m->lines, "{\"event\": \"start\", \"after_step\": %lld, \"steps\": %lld, \"rollback_from\": %lld",
            (long long)step, (long long)t->num_steps, (long long)from);
    metrics_end_line(m);
    metrics_flush(m, m->lines, "metrics.jsonl");
    if (m->board && !m->has_left) {
        tensorboard_close(m->board);
        if (tensorboard_open(&m->board, t->folder, step, &err) != 0)
            warn("%s; the run goes on without it", err.text);
    }
    int64_t first_step = t->first_step;
    t->first_step = t->last_step = step;
    t->num_validations = 0;
    if (!m->has_left && metrics_recall(t, &err) != 0)
        warn("%s; the summary is without the validations before it", err.text);
    t->first_step = first_step;
    t->num_rollbacks++;
}

void metrics_best(struct metrics *m, int64_t step, double loss) {
    if (!m)
        return;
    m->totals.best_checkpoint = step;
    m->totals.best_checkpoint_loss = loss;
}

void metrics_checkpoint(struct metrics *m, const struct checkpoint_record *record, const char *path) {
    if (!m)
        return;
    struct run_totals *t = &m->totals;
    t->num_checkpoints++;
    t->checkpoint_bytes += record->size_bytes;
    t->checkpoint_s += record->seconds;
    snprintf(t->last_checkpoint, sizeof t->last_checkpoint, "%s", path);
    json_t *text = json_string(path); /* NULL when the path is not UTF-8 */
    char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    fprintf(m->lines, "{\"event\": \"checkpoint\", \"step\": %lld, \"path\": %s, \"size_bytes\": %lld",
            (long long)record->step, quoted ? quoted : "null", (long long)record->size_bytes);
    metrics_put_number(m->lines, "seconds", record->seconds, 6);
    metrics_put_number(m->lines, "waited_s", record->waited_s, 6);
    metrics_end_line(m);
    free(quoted);
    json_decref(text);
    metrics_flush(m, m->lines, "metrics.jsonl");
    metrics_note(m, "step %lld  saved '%s'  (%.1f MB, %.1f s)", (long long)record->step, path,
                 (double)record->size_bytes / MEGA, record->seconds);
}

void metrics_left_out(struct metrics *m, const char *text) {
    if (!m)
        return;
    size_t used = strlen(m->totals.left_out);
    snprintf(m->totals.left_out + used, sizeof m->totals.left_out - used, "%s%s", used ? "; " : "", text);
    metrics_note(m, "left out: %s", text);
}
