/* metrics_summary.c - the parts of the summary, one function each. */
#include "train/record/metrics_summary.h"

#include <math.h>
#include <stdio.h>

#include "kernels/clock.h"
#include "kernels/units.h"

const char *phase_name(enum phase phase) {
    switch (phase) {
    case PHASE_DATA:
        return "data";
    case PHASE_FORWARD:
        return "forward";
    case PHASE_BACKWARD:
        return "backward";
    case PHASE_COMM:
        return "comm";
    case PHASE_OPTIMIZER:
        return "optimizer";
    case PHASE_COUNT:
        break;
    }
    die("phase %d has no name", (int)phase);
}

/* The bounds lie half a unit of the last figure below a minute and an hour: what would be rounded to "60.0 s" or
 * "60 min 00 s" is written in the next unit. */
const char *duration_text(double seconds, char *text, size_t room_bytes) {
    if (!(seconds >= 0 && seconds < 1e12))
        snprintf(text, room_bytes, "?");
    else if (seconds < 59.95)
        snprintf(text, room_bytes, "%.1f s", seconds);
    else if (seconds < 3599.5)
        snprintf(text, room_bytes, "%d min %02d s", (int)((seconds + 0.5) / MINUTE_S),
                 (int)fmod(seconds + 0.5, MINUTE_S));
    else
        snprintf(text, room_bytes, "%lld h %02d min", (long long)((seconds + 30) / HOUR_S),
                 (int)(fmod(seconds + 30, HOUR_S) / MINUTE_S));
    return text;
}

/* write_preference - rewards as they were last: what is not a number there were no documents for. */
static void write_preference(FILE *out, const char *when, const struct preference_record *p) {
    if (!p->is_there)
        return;
    const char *before = "";
    fprintf(out, "%s rewards ", when);
    if (isfinite(p->chosen))
        fprintf(out, "%.4f chosen", p->chosen), before = ", ";
    if (isfinite(p->rejected))
        fprintf(out, "%s%.4f rejected", before, p->rejected);
    if (isfinite(p->margin))
        fprintf(out, ", margin %.4f", p->margin);
    if (isfinite(p->accuracy))
        fprintf(out, ", accuracy %.3f", p->accuracy);
    if (isfinite(p->kl))
        fprintf(out, ", KL %.4f", p->kl);
    if (isfinite(p->log_ratio))
        fprintf(out, ", log ratio %.4f", p->log_ratio);
    fputc('\n', out);
}

static void write_validation(FILE *out, const struct run_totals *t) {
    if (t->num_validations == 0)
        return;
    if (t->num_validations == 1) {
        fprintf(out, "validation    loss %.4f", t->last_valid_loss);
        if (!t->valid_preference.is_there)
            fprintf(out, " (perplexity %.2f)", exp(t->last_valid_loss));
        fprintf(out, " at step %lld\n", (long long)t->last_valid_step);
        write_preference(out, "at the end   ", &t->valid_preference);
        return;
    }
    fprintf(out, "validation    loss %.4f -> %.4f", t->first_valid_loss, t->last_valid_loss);
    if (!t->valid_preference.is_there)
        fprintf(out, " (perplexity %.2f -> %.2f)", exp(t->first_valid_loss), exp(t->last_valid_loss));
    if (t->num_validations > 2)
        fprintf(out, ", best %.4f at step %lld", t->best_valid_loss, (long long)t->best_valid_step);
    fputc('\n', out);
    write_preference(out, "at the end   ", &t->valid_preference);
}

/* write_tasks - shares of right choices; nothing where no item could be scored. */
static void write_tasks(FILE *out, const struct run_totals *t) {
    if (t->num_tasks == 1 && t->num_task_items > 0)
        fprintf(out, "tasks         acc %.4f, acc_norm %.4f at step %lld (%lld items)\n", t->last_acc,
                t->last_acc_norm, (long long)t->last_task_step, (long long)t->num_task_items);
    else if (t->num_tasks > 0 && t->num_task_items > 0)
        fprintf(out, "tasks         acc %.4f -> %.4f, acc_norm %.4f -> %.4f (%lld items)\n", t->first_acc,
                t->last_acc, t->first_acc_norm, t->last_acc_norm, (long long)t->num_task_items);
}

/* write_losses - with what was not learnt from. */
static void write_losses(FILE *out, const struct run_totals *t) {
    char past[DIVERGENCE_PAST_ROOM];
    if (isfinite(t->first_loss) && isfinite(t->last_loss))
        fprintf(out, "training loss %.4f -> %.4f\n", t->first_loss, t->last_loss);
    else
        fprintf(out, "training loss none: no target tokens\n");
    write_preference(out, "last step    ", &t->preference);
    if (t->is_taught)
        fprintf(out, "last step     cross-entropy %.4f, KL from the teacher %.4f\n", t->cross_entropy,
                t->divergence);
    if (divergence_past_text(&t->diverged_before, past)[0])
        fprintf(out, "had diverged  %s\n", past);
    fprintf(out, "tokens        %lld, %lld of them targets\n", (long long)t->tokens,
            (long long)t->target_tokens);
    if (t->num_without_targets > 0)
        fprintf(out, "no update     in %lld steps: no target tokens\n", (long long)t->num_without_targets);
    if (t->num_overflows > 0)
        fprintf(out, "no update     in %lld steps: a gradient overflowed f16\n", (long long)t->num_overflows);
    if (t->num_spikes > 0)
        fprintf(out, "spikes        %lld, their batches left out; the run went back %lld time%s\n",
                (long long)t->num_spikes, (long long)t->num_rollbacks, t->num_rollbacks == 1 ? "" : "s");
}

/* write_time - speed and phases are of the time in the steps, not of all that has passed. */
static void write_time(FILE *out, const struct run_totals *t) {
    char wall[32], steps[32];
    fprintf(out, "time          %s in all, %s in the steps\n",
            duration_text(clock_s() - t->started_s, wall, sizeof wall),
            duration_text(t->seconds, steps, sizeof steps));
    if (t->seconds <= 0)
        return;
    fprintf(out, "speed         %.0f tokens/s, %.1f GFLOP/s over all ranks\n", (double)t->tokens / t->seconds,
            t->flops / t->seconds / GIGA);
    fprintf(out, "phases       ");
    for (int p = 0; p < PHASE_COUNT; p++)
        if (t->phase_s[p] > 0)
            fprintf(out, " %s %.1f %%", phase_name((enum phase)p), 100 * t->phase_s[p] / t->seconds);
    fputc('\n', out);
}

/* write_best - the result of a run that keeps it, and what is done with it next. */
static void write_best(FILE *out, const struct run_totals *t) {
    if (t->best_checkpoint == 0)
        return;
    fprintf(out, "best one      %s/best (step-%06lld), validation loss %.4f", t->folder,
            (long long)t->best_checkpoint, t->best_checkpoint_loss);
    if (t->best_valid_loss < t->best_checkpoint_loss)
        fprintf(out, "; the lowest, %.4f at step %lld, has no checkpoint", t->best_valid_loss,
                (long long)t->best_valid_step);
    fprintf(out, "; to export it: atelier export %s/best --to gguf --output FILE\n", t->folder);
}

static void write_checkpoints(FILE *out, const struct run_totals *t) {
    if (t->num_checkpoints == 0)
        return;
    fprintf(out, "checkpoints   %d, %.1f MB in all", t->num_checkpoints, (double)t->checkpoint_bytes / MEGA);
    if (t->checkpoint_s > 0)
        fprintf(out, " at %.0f MB/s", (double)t->checkpoint_bytes / t->checkpoint_s / MEGA);
    fprintf(out, "\nlast one      %s\n", t->last_checkpoint);
}

char *summary_text(const struct run_totals *t, const char *outcome) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    CHECK(out, "out of memory for the summary");
    fprintf(out, "--- summary of the run ---\n");
    fprintf(out, "outcome       %s\n", outcome);
    fprintf(out, "folder        %s\n", t->folder);
    int64_t done = t->last_step - t->first_step;
    fprintf(out, "steps         %lld of %lld, %lld of them since this start\n", (long long)t->last_step,
            (long long)t->num_steps, (long long)done);
    if (done > 0)
        write_losses(out, t);
    if (t->left_out[0])
        fprintf(out, "left out      %s\n", t->left_out);
    write_validation(out, t);
    write_tasks(out, t);
    write_time(out, t);
    write_checkpoints(out, t);
    write_best(out, t);
    if (t->cost[0])
        fprintf(out, "whole run     %s\n", t->cost);
    fprintf(out, "peak memory   %.0f MB on this rank\n", (double)peak_memory_bytes() / MEGA);
    CHECK(fclose(out) == 0, "out of memory for the summary");
    return text;
}
