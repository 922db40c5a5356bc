/* metrics.c - metrics.jsonl, the live line, the log.  The live line and the log go to standard error, the summary
 * to standard output.
 *
 * Both files only grow: each start appends a line that says after which step it goes on, and readers take
 * later records of the same step for the run's (metrics_history.c).  Each line is flushed, so that a kill
 * loses none. Trouble with the disk here is warned about once and does not end the run: a checkpoint may
 * still fit. */
#include "train/record/metrics_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "data/file.h"
#include "kernels/clock.h"
#include "kernels/units.h"
#include "train/record/live_line.h"
#include "train/record/metrics_summary.h"
#include "train/record/tensorboard.h"

/* --- files --- */

/* metrics_end_line - of metrics.jsonl: every line says of which run it is, and when it was written (UTC, RFC 3339). */
void metrics_end_line(const struct metrics *m) {
    struct timespec now;
    struct tm parts;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    if (m->run_id[0])
        fprintf(m->lines, ", \"run\": \"%s\"", m->run_id);
    fprintf(m->lines, ", \"time\": \"%s.%03ldZ\"}\n", text, now.tv_nsec / 1000000);
}

/* open_append - a file of the run folder; what stands in it stays, and a link is not followed. */
static FILE *open_append(const char *folder, const char *name, struct err *err) {
    char *path = xasprintf("%s/%s", folder, name);
    if (file_check_regular(path, err) != 0) {
        free(path);
        return NULL;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666);
    FILE *file = fd >= 0 ? fdopen(fd, "a") : NULL;
    if (!file)
        err_set(err, "cannot open '%s': %s", path, strerror(errno));
    if (!file && fd >= 0)
        close(fd);
    free(path);
    return file;
}

/* end_half_line - what a crash left of the last line stands alone, and no reader takes it for one. */
static void end_half_line(FILE *file) {
    char last = '\n';
    off_t size = lseek(fileno(file), 0, SEEK_END);
    if (size > 0 && pread(fileno(file), &last, 1, size - 1) == 1 && last != '\n')
        fputc('\n', file);
}

/* metrics_flush - after each line; the first failure is told. */
void metrics_flush(struct metrics *m, FILE *file, const char *name) {
    if (fflush(file) == 0 && !ferror(file))
        return;
    clearerr(file);
    if (!m->has_failed)
        warn("cannot write '%s/%s': %s; the run goes on without it", m->totals.folder, name, strerror(errno));
    m->has_failed = true;
}

/* mark_start - in both files: from here on the records of later steps are those of this start. */
static void mark_start(struct metrics *m) {
    char now[32];
    struct tm parts;
    time_t seconds = time(NULL);
    end_half_line(m->lines);
    fprintf(m->lines, "{\"event\": \"start\", \"after_step\": %lld, \"steps\": %lld",
            (long long)m->totals.first_step, (long long)m->totals.num_steps);
    metrics_end_line(m);
    strftime(now, sizeof now, "%Y-%m-%d %H:%M:%S", gmtime_r(&seconds, &parts));
    end_half_line(m->log);
    fprintf(m->log, "--- start of %s UTC, after step %lld of %lld ---\n", now,
            (long long)m->totals.first_step, (long long)m->totals.num_steps);
}

/* take_id - of a file that people may have edited: letters, digits and hyphens, or none at all. */
static void take_id(struct metrics *m, const char *id) {
    static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    if (id && strlen(id) < RUN_ID_ROOM && id[strspn(id, allowed)] == '\0')
        snprintf(m->run_id, sizeof m->run_id, "%s", id);
}

/* tell_lost - of a run that goes on from a checkpoint of this folder, with no line of what came before it. */
static void tell_lost(struct metrics *m, bool is_empty) {
    if (is_empty && m->totals.first_step > 0 && folder_has(m->totals.folder, "latest"))
        metrics_note(
            m,
            "warning: metrics.jsonl was empty or missing: nothing is recorded of the steps up to %lld, in reports and "
            "sums neither",
            (long long)m->totals.first_step);
}

/* is_empty - a file that was opened to be appended to. */
static bool is_empty(FILE *file) {
    struct stat facts;
    return fstat(fileno(file), &facts) == 0 && facts.st_size == 0;
}

/* All files are open before anything is written to one of metrics and log: a run begins with both or with none. */
int metrics_open(struct metrics **metrics, const struct metrics_setup *setup, struct err *err) {
    struct metrics *m = xcalloc(1, sizeof *m);
    *metrics = NULL;
    m->log_every = setup->log_every > 0 ? setup->log_every : 1;
    m->is_terminal =
        setup->progress == PROGRESS_LIVE || (setup->progress == PROGRESS_AUTO && isatty(STDERR_FILENO) == 1);
    m->totals.first_step = m->totals.last_step = setup->first_step;
    m->totals.num_steps = setup->num_steps;
    take_id(m, setup->run_id);
    m->bits_per_byte = NAN;
    m->totals.first_loss = m->totals.last_loss = NAN;
    m->totals.started_s = clock_s();
    snprintf(m->totals.folder, sizeof m->totals.folder, "%s", setup->run_folder);
    m->lines = open_append(setup->run_folder, "metrics.jsonl", err);
    m->log = m->lines ? open_append(setup->run_folder, "log.txt", err) : NULL;
    bool is_open = m->lines && m->log && metrics_recall(&m->totals, err) == 0;
    if (is_open && setup->has_tensorboard)
        is_open = tensorboard_open(&m->board, setup->run_folder, setup->first_step, err) == 0;
    if (is_open) {
        bool has_none = is_empty(m->lines);
        mark_start(m);
        metrics_flush(m, m->lines, "metrics.jsonl");
        metrics_flush(m, m->log, "log.txt");
        tell_lost(m, has_none);
        *metrics = m;
        return 0;
    }
    if (m->lines)
        fclose(m->lines);
    if (m->log)
        fclose(m->log);
    free(m);
    return -1;
}

/* metrics_put_number - JSON knows no NaN and no infinity.  Nine digits tell two floats apart, 17 two doubles. */
void metrics_put_number(FILE *out, const char *name, double value, int digits) {
    if (isfinite(value))
        fprintf(out, ", \"%s\": %.*g", name, digits, value);
    else
        fprintf(out, ", \"%s\": null", name);
}

/* put_preference - under TRL's names. */
static void put_preference(FILE *out, const struct preference_record *p) {
    if (!p->is_there)
        return;
    metrics_put_number(out, "rewards/chosen", p->chosen, 17);
    metrics_put_number(out, "rewards/rejected", p->rejected, 17);
    metrics_put_number(out, "rewards/margins", p->margin, 17);
    if (!isnan(p->accuracy)) /* labelled completions have none at any step: no key */
        metrics_put_number(out, "rewards/accuracies", p->accuracy, 9);
    metrics_put_number(out, "logps/chosen", p->chosen_logp, 17);
    metrics_put_number(out, "logps/rejected", p->rejected_logp, 17);
    metrics_put_number(out, "kl", p->kl, 17);
    metrics_put_number(out, "log_ratio", p->log_ratio, 17);
}

/* put_router - of a model with experts. */
static void put_router(FILE *out, const struct router_record *r) {
    if (!r->is_there)
        return;
    if (r->has_losses) {
        metrics_put_number(out, "load_balance", r->balance, 17);
        metrics_put_number(out, "router_z", r->z, 17);
    }
    metrics_put_number(out, "fullest_expert", r->fullest, 9);
    metrics_put_number(out, "emptiest_expert", r->emptiest, 9);
}

/* --- the progress on standard error --- */

/* end_live_line - it makes room for a line that stays. */
static void end_live_line(struct metrics *m) {
    if (m->is_live_line)
        live_line_end();
    m->is_live_line = false;
}

/* log_text - a line on the terminal and in log.txt. */
static void log_text(struct metrics *m, const char *text) {
    end_live_line(m);
    fprintf(stderr, "%s\n", text);
    fprintf(m->log, "%s\n", text);
    metrics_flush(m, m->log, "log.txt");
}

/* Texts of a step's line. */
struct step_words {
    char step[48], loss[32], norm[32], routed[40], rate[24], speed[32], left[48];
};

/* make_words - of a finished step; "" what it does not have. */
static void make_words(struct step_words *w, const struct metrics *m, const struct step_record *r) {
    char eta[32];
    double left_s = (double)(m->totals.num_steps - r->step) * m->smooth_step_s;
    *w = (struct step_words){.loss = "no targets"};
    snprintf(w->step, sizeof w->step, "step %lld/%lld", (long long)r->step, (long long)m->totals.num_steps);
    if (isfinite(r->loss)) {
        snprintf(w->loss, sizeof w->loss, "loss %.4f", r->loss);
        if (isfinite(r->grad_norm))
            snprintf(w->norm, sizeof w->norm, "grad %.3f", r->grad_norm);
        else
            snprintf(w->norm, sizeof w->norm, "no update");
    }
    if (r->router.is_there && r->target_tokens > 0)
        snprintf(w->routed, sizeof w->routed, "fullest expert %.1fx",
                 r->router.fullest * (double)r->router.num_experts);
    snprintf(w->rate, sizeof w->rate, "lr %.2e", r->learning_rate);
    snprintf(w->speed, sizeof w->speed, "%.0f tokens/s", m->smooth_tokens_per_s);
    snprintf(w->left, sizeof w->left, "ETA %s", duration_text(left_s, eta, sizeof eta));
}

/* show_step - on a terminal every step, in place; in the log, and where standard error is a file, one in log_every. */
static void show_step(struct metrics *m, const struct step_record *r) {
    char line[LIVE_LINE_ROOM];
    struct step_words w;
    make_words(&w, m, r);
    const struct live_part parts[] = {{w.step, 5}, {w.loss, 4},  {w.norm, 1}, {w.routed, 0},
                                      {w.rate, 0}, {w.speed, 2}, {w.left, 3}};
    enum { NUM_PARTS = sizeof parts / sizeof parts[0] };
    live_line_text(parts, NUM_PARTS, 0, line);
    bool is_due =
        r->step % m->log_every == 0 || r->step == m->totals.num_steps || r->step == m->totals.first_step + 1;
    if (!m->is_terminal) {
        if (is_due)
            log_text(m, line);
        return;
    }
    if (is_due) {
        fprintf(m->log, "%s\n", line);
        metrics_flush(m, m->log, "log.txt");
    }
    live_line_show(parts, NUM_PARTS);
    m->is_live_line = true;
}

void metrics_note(struct metrics *m, const char *fmt, ...) {
    char text[1024];
    if (!m)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    log_text(m, text);
}

/* --- what happened --- */

/* smooth - running mean in which a step weighs a tenth; the first steps count in full. */
static double smooth(double mean, double value, int64_t num_values) {
    double weight = num_values < 10 ? 1.0 / (double)num_values : 0.1;
    return mean + weight * (value - mean);
}

/* add_to_totals - of this start; the losses of earlier ones were recalled when the files were opened. */
static void add_to_totals(struct run_totals *t, const struct step_record *r) {
    if (isfinite(r->loss)) {
        if (!isfinite(t->first_loss))
            t->first_loss = r->loss;
        t->last_loss = r->loss;
    }
    if (r->preference.is_there)
        t->preference = r->preference;
    if (r->is_taught && isfinite(r->loss)) {
        t->is_taught = true;
        t->cross_entropy = r->cross_entropy;
        t->divergence = r->divergence;
    }
    t->diverged_before = r->diverged_before;
    t->num_without_targets += r->target_tokens == 0;
    t->num_overflows += r->skipped && strcmp(r->skipped, "f16 overflow") == 0;
    t->num_spikes += r->skipped && strcmp(r->skipped, "spike") == 0;
    t->last_step = r->step;
    t->tokens += r->tokens;
    t->target_tokens += r->target_tokens;
    t->seconds += r->seconds;
    t->flops += r->flops;
    for (int p = 0; p < PHASE_COUNT; p++)
        t->phase_s[p] += r->phase_s[p];
}

/* The losses have 17 digits, so that two runs can be compared bit by bit from their metrics; measured times have
 * six. */
void metrics_step(struct metrics *m, const struct step_record *r) {
    if (!m)
        return;
    add_to_totals(&m->totals, r);
    int64_t num_here = m->totals.last_step - m->totals.first_step;
    double tokens_per_s = r->seconds > 0 ? (double)r->tokens / r->seconds : 0;
    m->smooth_step_s = smooth(m->smooth_step_s, r->seconds, num_here > 0 ? num_here : 1);
    if (r->target_tokens > 0) /* others take no time */
        m->smooth_tokens_per_s = smooth(m->smooth_tokens_per_s, tokens_per_s, num_here > 0 ? num_here : 1);

    fprintf(m->lines, "{\"step\": %lld", (long long)r->step);
    metrics_put_number(m->lines, "loss", r->loss, 17);
    metrics_put_number(m->lines, "grad_norm", r->grad_norm, 17);
    metrics_put_number(m->lines, "learning_rate", r->learning_rate, 9);
    put_preference(m->lines, &r->preference);
    if (r->is_taught) {
        metrics_put_number(m->lines, "cross_entropy", r->cross_entropy, 17);
        metrics_put_number(m->lines, "kl", r->divergence, 17);
    }
    put_router(m->lines, &r->router);
    fprintf(m->lines, ", \"tokens\": %lld, \"target_tokens\": %lld, \"update\": %lld", (long long)r->tokens,
            (long long)r->target_tokens, (long long)r->update);
    if (r->diverged_since > 0)
        fprintf(m->lines, ", \"diverged_since\": %lld", (long long)r->diverged_since);
    if (r->diverged_before.times > 0)
        fprintf(m->lines, ", \"diverged_before\": {\"from\": %lld, \"to\": %lld, \"times\": %lld}",
                (long long)r->diverged_before.first, (long long)r->diverged_before.last,
                (long long)r->diverged_before.times);
    if (r->still_since > 0)
        fprintf(m->lines, ", \"still_since\": %lld", (long long)r->still_since);
    if (r->skipped)
        fprintf(m->lines, ", \"skipped\": \"%s\"", r->skipped);
    if (r->shares_rows)
        fprintf(m->lines, ", \"rows_bytes\": %lld", (long long)r->rows_bytes);
    if (r->chain)
        fprintf(m->lines, ", \"data\": \"%s\", \"chain\": \"%s\"", r->data, r->chain);
    metrics_put_number(m->lines, "seconds", r->seconds, 6);
    metrics_put_number(m->lines, "tokens_per_s", tokens_per_s, 6);
    metrics_put_number(m->lines, "gflops_per_s", r->seconds > 0 ? r->flops / r->seconds / GIGA : 0, 6);
    for (int p = 0; p < PHASE_COUNT; p++) {
        char name[32];
        snprintf(name, sizeof name, "%s_s", phase_name((enum phase)p));
        metrics_put_number(m->lines, name, r->phase_s[p], 6);
    }
    int64_t peak_bytes = peak_memory_bytes(); /* asked once: it grows between two questions */
    fprintf(m->lines, ", \"peak_memory_bytes\": %lld", (long long)peak_bytes);
    metrics_end_line(m);
    metrics_flush(m, m->lines, "metrics.jsonl");
    tensorboard_step(m->board, r, peak_bytes);
    show_step(m, r);
}

/* note_preference - of a validation; a mean over no documents is left out. */
static void note_preference(struct metrics *m, int64_t step, double loss, int64_t target_tokens,
                            double seconds, const struct preference_record *p) {
    char margin[40] = "", accuracy[40] = "";
    if (!isnan(p->margin))
        snprintf(margin, sizeof margin, "  margin %.4f", p->margin);
    if (!isnan(p->accuracy))
        snprintf(accuracy, sizeof accuracy, "  accuracy %.3f", p->accuracy);
    metrics_note(m, "step %lld  validation loss %.4f%s%s  (%lld tokens, %.1f s)", (long long)step, loss,
                 margin, accuracy, (long long)target_tokens, seconds);
}

/* bits_text - in the caller's BITS_ROOM bytes; "" where it is not known. */
static const char *bits_text(double bits_per_byte, char *text) {
    text[0] = '\0';
    if (isfinite(bits_per_byte))
        snprintf(text, BITS_ROOM, "  %.4f bits per byte", bits_per_byte);
    return text;
}

void metrics_bits_per_byte(struct metrics *m, double value) {
    if (m)
        m->bits_per_byte = value;
}

/* put_sources - of a validation of several, an object for each. */
static void put_sources(struct metrics *m) {
    for (int64_t s = 0; s < m->num_sources && m->num_sources > 1; s++) {
        json_t *text = json_string(m->sources[s].name); /* NULL when the name is not UTF-8 */
        char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
        fprintf(m->lines, "%s{\"source\": %s", s == 0 ? ", \"sources\": [" : ", ", quoted ? quoted : "null");
        metrics_put_number(m->lines, "loss", m->sources[s].loss, 17);
        if (isfinite(m->sources[s].bits_per_byte))
            metrics_put_number(m->lines, "bits_per_byte", m->sources[s].bits_per_byte, 9);
        fprintf(m->lines, ", \"target_tokens\": %.0f}%s", m->sources[s].target_tokens,
                s + 1 == m->num_sources ? "]" : "");
        free(quoted);
        json_decref(text);
    }
}

/* note_sources - the first ones; all are in metrics.jsonl. */
static void note_sources(struct metrics *m) {
    enum { MOST_TOLD = 20 };
    for (int64_t s = 0; s < m->num_sources && m->num_sources > 1 && s < MOST_TOLD; s++) {
        const struct source_loss *source = &m->sources[s];
        char name[120];
        snprintf(name, sizeof name, "%s", source->name);
        text_clean(name);
        if (source->target_tokens > 0)
            metrics_note(m, "    %-40s loss %.4f  (%.0f tokens)", name, source->loss, source->target_tokens);
        else
            metrics_note(m, "    %-40s no targets among the sequences of the validation", name);
    }
    if (m->num_sources > MOST_TOLD)
        metrics_note(m, "    and %lld more sources, in metrics.jsonl",
                     (long long)(m->num_sources - MOST_TOLD));
}

void metrics_sources(struct metrics *m, const struct source_loss *losses, int64_t num_sources) {
    if (!m)
        return;
    m->sources = losses;
    m->num_sources = num_sources;
}

void metrics_validation(struct metrics *m, int64_t step, double loss, int64_t target_tokens, double seconds,
                        const struct preference_record *preference) {
    if (!m)
        return;
    char bits[BITS_ROOM];
    if (preference->is_there)
        m->totals.valid_preference = *preference;
    run_totals_validation(&m->totals, step, loss);
    fprintf(m->lines, "{\"event\": \"validation\", \"step\": %lld", (long long)step);
    metrics_put_number(m->lines, "loss", loss, 17);
    put_preference(m->lines, preference);
    fprintf(m->lines, ", \"target_tokens\": %lld", (long long)target_tokens);
    metrics_put_number(m->lines, "seconds", seconds, 6);
    if (isfinite(m->bits_per_byte))
        metrics_put_number(m->lines, "bits_per_byte", m->bits_per_byte, 9);
    put_sources(m);
    metrics_end_line(m);
    metrics_flush(m, m->lines, "metrics.jsonl");
    tensorboard_validation(m->board, step, loss, preference);
    tensorboard_sources(m->board, step, m->bits_per_byte, m->sources, m->num_sources);
    if (target_tokens == 0)
        metrics_note(m, "step %lld  validation: no targets", (long long)step);
    else if (preference->is_there)
        note_preference(m, step, loss, target_tokens, seconds, preference);
    else
        metrics_note(m, "step %lld  validation loss %.4f  perplexity %.2f%s  (%lld tokens, %.1f s)",
                     (long long)step, loss, exp(loss), bits_text(m->bits_per_byte, bits),
                     (long long)target_tokens, seconds);
    note_sources(m);
    m->sources = NULL;
    m->num_sources = 0;
    m->bits_per_byte = NAN;
}

const struct run_totals *metrics_totals(const struct metrics *metrics) {
    return metrics ? &metrics->totals : NULL;
}

void metrics_cost(struct metrics *metrics, const char *text) {
    if (metrics)
        snprintf(metrics->totals.cost, sizeof metrics->totals.cost, "%s", text);
}

void metrics_leave(struct metrics *m) {
    if (m)
        m->has_left = true;
}

/* write_summary - the newest start's: it replaces an earlier one. */
static void write_summary(const struct metrics *m, const char *text) {
    struct err err;
    char *path = xasprintf("%s/summary.txt", m->totals.folder);
    if (file_create(path, text, strlen(text), &err) != 0)
        warn("%s", err.text);
    free(path);
}

void metrics_close(struct metrics *m, const char *outcome) {
    if (!m)
        return;
    end_live_line(m);
    char *text = summary_text(&m->totals, outcome);
    fputs(text, stdout);
    fflush(stdout);
    if (!m->has_left)
        write_summary(m, text);
    fclose(m->lines);
    fclose(m->log);
    tensorboard_close(m->board);
    free(text);
    free(m);
}
