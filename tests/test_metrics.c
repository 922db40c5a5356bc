/* test_metrics.c - metrics.jsonl over restarts and crashes, what its lines hold, the summary. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "data/corpus/json.h"
#include "tests/check.h"
#include "train/record/live_line.h"
#include "train/record/metrics.h"
#include "train/record/metrics_summary.h"
#include "train/record/run_status.h"

static struct step_record record_of(int64_t step, double loss) {
    struct step_record record = {.step = step,
                                 .loss = loss,
                                 .grad_norm = 0.5,
                                 .learning_rate = 1e-3,
                                 .tokens = 1000,
                                 .target_tokens = 900,
                                 .seconds = 0.25,
                                 .flops = 1e9};
    record.phase_s[PHASE_FORWARD] = 0.125;
    return record;
}

/* read_file - text of folder/name. */
static char *read_file(const char *folder, const char *name) {
    size_t length_bytes = 0;
    struct err err = {""};
    char *path = xasprintf("%s/%s", folder, name);
    char *text = file_read_whole(path, 1 << 20, &length_bytes, &err);
    if (!text)
        fail_msg("%s", err.text);
    free(path);
    return text;
}

/* steps_of - "s0 1 2 v2 3": the lines of metrics.jsonl in short, "?" for one that is not JSON; malloc'ed. */
static char *steps_of(const char *folder) {
    char *text = read_file(folder, "metrics.jsonl"), *shown = xstrdup("");
    for (char *line = text, *end = NULL; (end = strchr(line, '\n')); line = end + 1) {
        struct err err = {""};
        json_t *object = json_parse_text(line, (size_t)(end - line), "line", &err);
        const char *event = "";
        int64_t step = -1;
        if (object) {
            assert_int_equal(json_get_string_or(object, "event", "", &event, &err), 0);
            assert_int_equal(json_get_int(object, event[0] == 's' ? "after_step" : "step", &step, &err), 0);
        }
        char *longer = object ? xasprintf("%s%s%.1s%lld", shown, shown[0] ? " " : "", event, (long long)step)
                              : xasprintf("%s%s?", shown, shown[0] ? " " : "");
        free(shown);
        shown = longer;
        json_decref(object);
    }
    free(text);
    return shown;
}

static void assert_steps(const char *folder, const char *wanted) {
    char *shown = steps_of(folder);
    assert_string_equal(shown, wanted);
    free(shown);
}

static struct metrics *open_run(const char *folder, int64_t first_step) {
    struct metrics *metrics = NULL;
    struct err err = {""};
    struct metrics_setup setup = {
        .run_folder = folder, .first_step = first_step, .num_steps = 10, .log_every = 1};
    if (metrics_open(&metrics, &setup, &err) != 0)
        fail_msg("%s", err.text);
    return metrics;
}

static void steps(struct metrics *metrics, int64_t first, int64_t last) {
    for (int64_t step = first; step <= last; step++) {
        struct step_record record = record_of(step, 4.0 / (double)step);
        metrics_step(metrics, &record);
    }
}

static void test_restarts(void **state) {
    (void)state;
    char *folder = test_folder("metrics");
    struct metrics *metrics = open_run(folder, 0);
    metrics_validation(metrics, 0, 5.0, 100, 0.1, &(struct preference_record){.is_there = false});
    steps(metrics, 1, 3);
    metrics_checkpoint(metrics, &(struct checkpoint_record){3, 1000000, 0.5, 0.5}, "runs/x/step-000003");
    steps(metrics, 4, 6);
    metrics_close(metrics, "stopped");
    assert_steps(folder, "s0 v0 1 2 3 c3 4 5 6");
    /* Resumed from step 3: what lies beyond was not saved; it stays in the file and no longer counts. */
    metrics = open_run(folder, 3);
    assert_true(metrics_totals(metrics)->first_loss == 4.0);
    assert_int_equal(metrics_totals(metrics)->num_validations, 1);
    steps(metrics, 4, 5);
    metrics_validation(metrics, 5, 1.0, 100, 0.1, &(struct preference_record){.is_there = false});
    metrics_close(metrics, "done");
    assert_steps(folder, "s0 v0 1 2 3 c3 4 5 6 s3 4 5 v5");
    /* A crash in the middle of a line. */
    char *path = xasprintf("%s/metrics.jsonl", folder);
    struct stat facts;
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(truncate(path, facts.st_size - 20), 0);
    metrics = open_run(folder, 4);
    assert_int_equal(metrics_totals(metrics)->num_validations, 1); /* the one at step 5 is left */
    steps(metrics, 5, 6);
    metrics_close(metrics, "done");
    assert_steps(folder, "s0 v0 1 2 3 c3 4 5 6 s3 4 5 ? s4 5 6");
    char *log = read_file(folder, "log.txt");
    assert_non_null(strstr(log, "after step 0 of 10 ---"));
    assert_non_null(strstr(log, "after step 4 of 10 ---"));
    free(log);
    /* A start from the beginning: nothing before it counts, and all of it stays. */
    metrics = open_run(folder, 0);
    assert_true(isnan(metrics_totals(metrics)->first_loss));
    assert_int_equal(metrics_totals(metrics)->num_validations, 0);
    metrics_close(metrics, "done");
    metrics = open_run(folder, 5);
    assert_int_equal(metrics_totals(metrics)->num_validations, 0); /* those before the new beginning */
    metrics_close(metrics, "done");
    assert_steps(folder, "s0 v0 1 2 3 c3 4 5 6 s3 4 5 ? s4 5 6 s0 s5");
    /* A file that is not JSON at all. */
    FILE *file = fopen(path, "w");
    fputs("garbage\n{\"step\": 1}\n", file);
    fclose(file);
    metrics = open_run(folder, 5);
    steps(metrics, 6, 6);
    metrics_close(metrics, "done");
    assert_steps(folder, "? 1 s5 6");
    /* A link in the place of a log is not written through. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("log.txt", path), 0);
    struct err err = {""};
    struct metrics_setup setup = {.run_folder = folder, .num_steps = 1, .log_every = 1};
    assert_int_equal(metrics_open(&metrics, &setup, &err), -1);
    assert_int_equal(unlink(path), 0);
    free(path);
    free(folder);
}

/* number_of_last_line - the number under a key. */
static double number_of_last_line(const char *folder, const char *key) {
    char *text = read_file(folder, "metrics.jsonl");
    struct err err = {""};
    double value = NAN;
    char *end = text + strlen(text) - 1, *line = end;
    while (line > text && line[-1] != '\n')
        line--;
    json_t *object = json_parse_text(line, (size_t)(end - line), "line", &err);
    assert_non_null(object);
    if (json_get_double(object, key, &value, &err) != 0)
        value = NAN;
    json_decref(object);
    free(text);
    return value;
}

static void test_values(void **state) {
    (void)state;
    char *folder = test_folder("metrics-values");
    /* Two losses one bit apart must stay two losses. */
    const double losses[] = {2.3456789012345678, nextafter(2.3456789012345678, 3.0), NAN};
    for (int i = 0; i < 3; i++) {
        struct metrics *metrics = open_run(folder, 0);
        struct step_record record = record_of(1, losses[i]);
        metrics_step(metrics, &record);
        metrics_close(metrics, "done");
        double loss = number_of_last_line(folder, "loss");
        assert_true(i == 2 ? isnan(loss) : loss == losses[i]);
        assert_true(i != 1 || loss != losses[0]);
    }
    assert_true(number_of_last_line(folder, "tokens_per_s") == 4000);
    assert_true(number_of_last_line(folder, "gflops_per_s") == 4);
    assert_true(number_of_last_line(folder, "forward_s") == 0.125);
    assert_true(number_of_last_line(folder, "grad_norm") == 0.5);
    assert_true(number_of_last_line(folder, "peak_memory_bytes") > 100000);
    free(folder);
}

/* What was measured once is told once, with its step; the control, twice, is test_summary. */
static void test_summary_of_one(void **state) {
    (void)state;
    char *folder = test_folder("metrics-summary-one");
    struct metrics *metrics = open_run(folder, 0);
    json_t *nothing = json_object();
    steps(metrics, 1, 4);
    metrics_validation(metrics, 4, 3.0, 100, 0.1, &(struct preference_record){.is_there = false});
    metrics_tasks(
        metrics,
        &(struct tasks_record){
            .step = 4, .num_items = 7, .acc = 0.5, .acc_norm = 0.25, .all = nothing, .groups = nothing});
    metrics_close(metrics, NULL);
    char *text = read_file(folder, "summary.txt");
    assert_non_null(strstr(text, "validation    loss 3.0000 (perplexity 20.09) at step 4\n"));
    assert_non_null(strstr(text, "tasks         acc 0.5000, acc_norm 0.2500 at step 4 (7 items)\n"));
    json_decref(nothing);
    free(text);
    free(folder);
}

static void test_summary(void **state) {
    (void)state;
    char *folder = test_folder("metrics-summary");
    struct metrics *metrics = open_run(folder, 0);
    metrics_validation(metrics, 0, 5.0, 100, 0.1, &(struct preference_record){.is_there = false});
    steps(metrics, 1, 4);
    metrics_validation(metrics, 4, 3.0, 100, 0.1, &(struct preference_record){.is_there = false});
    metrics_note(metrics, "resumed from %s", "nowhere");
    metrics_checkpoint(metrics, &(struct checkpoint_record){4, 2000000, 0.5, 0.5}, "quote\"d");
    metrics_close(metrics, "stopped by SIGUSR1");
    char *text = read_file(folder, "summary.txt"), *log = read_file(folder, "log.txt");
    static const char *const wanted[] = {"stopped by SIGUSR1",
                                         "steps         4 of 10, 4 of them",
                                         "loss 4.0000 -> 1.0000",
                                         "loss 5.0000 -> 3.0000",
                                         "4000 tokens/s",
                                         "forward 50.0 %",
                                         "1, 2.0 MB in all at 4 MB/s",
                                         "quote\"d"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (!strstr(text, wanted[i]))
            fail_msg("'%s' is not in the summary:\n%s", wanted[i], text);
    assert_null(strstr(text, "best")); /* two validations: nothing between them */
    assert_non_null(strstr(log, "resumed from nowhere\n"));
    assert_non_null(strstr(log, "step 4/10  loss 1.0000"));
    assert_steps(folder, "s0 v0 1 2 3 4 v4 c4"); /* the quote did not break the line */
    free(text);
    free(log);
    free(folder);
}

/* A mean over nothing is null, in the lines and in the summary; steps without an update say why. */
static void test_nothing(void **state) {
    (void)state;
    char *folder = test_folder("metrics-nothing");
    struct metrics *metrics = open_run(folder, 0);
    struct step_record nothing = record_of(1, NAN), overflow = record_of(2, 7.0), good = record_of(3, 6.0);
    nothing.target_tokens = 0;
    nothing.grad_norm = NAN;
    nothing.skipped = "no targets";
    overflow.skipped = "f16 overflow";
    overflow.grad_norm = INFINITY;
    good.update = 1;
    metrics_validation(metrics, 0, NAN, 0, 0.1, &(struct preference_record){.is_there = false});
    metrics_step(metrics, &nothing);
    metrics_step(metrics, &overflow);
    metrics_step(metrics, &good);
    metrics_left_out(metrics, "two documents");
    metrics_close(metrics, "done");
    char *lines = read_file(folder, "metrics.jsonl"), *text = read_file(folder, "summary.txt");
    char *log = read_file(folder, "log.txt");
    static const char *const wanted[] = {
        "\"validation\", \"step\": 0, \"loss\": null", "{\"step\": 1, \"loss\": null, \"grad_norm\": null",
        "\"update\": 0, \"skipped\": \"no targets\"", "\"update\": 0, \"skipped\": \"f16 overflow\"",
        "\"update\": 1, \"seconds\""};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (!strstr(lines, wanted[i]))
            fail_msg("'%s' is not in the lines:\n%s", wanted[i], lines);
    assert_null(strstr(lines, "\"loss\": 0"));
    assert_non_null(strstr(text, "training loss 7.0000 -> 6.0000\n"));
    assert_non_null(strstr(text, "no update     in 1 steps: no target tokens\n"));
    assert_non_null(strstr(text, "no update     in 1 steps: a gradient overflowed f16\n"));
    assert_non_null(strstr(text, "left out      two documents\n"));
    assert_null(strstr(text, "validation"));
    assert_non_null(strstr(log, "step 0  validation: no targets\n"));
    assert_non_null(strstr(log, "step 1/10  no targets"));
    assert_null(strstr(log, "nan"));
    free(lines);
    free(text);
    free(log);
    free(folder);
}

/* Every line says when it was written, between the start and the end of the test. */
static void test_time(void **state) {
    (void)state;
    char *folder = test_folder("metrics-time");
    struct metrics *metrics = open_run(folder, 0);
    time_t start = time(NULL);
    metrics_validation(metrics, 0, 5.0, 100, 0.1, &(struct preference_record){.is_there = false});
    steps(metrics, 1, 1);
    metrics_ranks(metrics, 1, 1, 2, 0, "host");
    metrics_checkpoint(metrics, &(struct checkpoint_record){1, 1, 0.5, 0.5}, "step-000001");
    metrics_close(metrics, "done");
    char *text = read_file(folder, "metrics.jsonl");
    int num_lines = 0;
    for (char *line = text, *end = NULL; (end = strchr(line, '\n')); line = end + 1, num_lines++) {
        struct err err = {""};
        const char *written = NULL;
        struct tm parts = {0};
        json_t *object = json_parse_text(line, (size_t)(end - line), "line", &err);
        assert_non_null(object);
        assert_int_equal(json_get_string(object, "time", &written, &err), 0);
        const char *rest = strptime(written, "%Y-%m-%dT%H:%M:%S", &parts);
        assert_true(rest && *rest == '.' && strlen(rest) == 5 && rest[4] == 'Z');
        time_t then = timegm(&parts);
        assert_true(then >= start && then <= time(NULL));
        json_decref(object);
    }
    assert_int_equal(num_lines, 5);
    free(text);
    free(folder);
}

/* What status reads: after a start line only what came since, and the steps that it says. */
static void test_status_after_start(void **state) {
    (void)state;
    struct run_status status = {.loss = NAN, .valid_loss = NAN};
    run_status_take_metrics(&status, "{\"event\": \"start\", \"after_step\": 0, \"steps\": 9}\n"
                                     "{\"step\": 7, \"loss\": 2.0, \"seconds\": 1, \"tokens\": 8}\n"
                                     "{\"event\": \"validation\", \"step\": 7, \"loss\": 3.0}\n");
    assert_int_equal(status.last_step, 7);
    assert_int_equal(status.num_steps, 9);
    assert_true(status.loss == 2.0 && status.valid_loss == 3.0 && status.step_s == 1.0);
    status = (struct run_status){.loss = NAN, .valid_loss = NAN};
    run_status_take_metrics(&status, "{\"step\": 7, \"loss\": 2.0, \"seconds\": 1, \"tokens\": 8}\n"
                                     "{\"event\": \"start\", \"after_step\": 4, \"steps\": 12}\n");
    assert_int_equal(status.last_step, 4);
    assert_int_equal(status.num_steps, 12);
    assert_true(isnan(status.loss) && status.step_s == 0);
}

/* What compares documents tells of them, and nothing of perplexity; what there was none of is null, or has no key. */
static void test_preferences(void **state) {
    (void)state;
    char *folder = test_folder("metrics_preferences");
    struct preference_record pairs = {true, 0.5, -0.25, 0.75, 0.875, -12.5, -14.0, NAN, -0.125};
    struct metrics *metrics = open_run(folder, 0);
    struct step_record record = record_of(1, 0.5);
    record.preference = pairs;
    metrics_step(metrics, &record);
    metrics_validation(metrics, 1, 0.6, 100, 0.1, &pairs);
    metrics_close(metrics, "done");
    char *lines = read_file(folder, "metrics.jsonl"), *summary = read_file(folder, "summary.txt");
    char *log = read_file(folder, "log.txt");
    assert_non_null(strstr(lines,
                           "\"rewards/chosen\": 0.5, \"rewards/rejected\": -0.25, \"rewards/margins\": 0.75, "
                           "\"rewards/accuracies\": 0.875, \"logps/chosen\": -12.5, \"logps/rejected\": -14, "
                           "\"kl\": null, \"log_ratio\": -0.125"));
    assert_non_null(
        strstr(summary, "rewards 0.5000 chosen, -0.2500 rejected, margin 0.7500, accuracy 0.875, log ratio "
                        "-0.1250"));
    assert_null(strstr(summary, "perplexity"));
    assert_null(strstr(log, "perplexity"));
    free(lines), free(summary), free(log);
    struct preference_record labels = {true, NAN, -0.25, NAN, NAN, NAN, -14.0, 0.5, NAN};
    metrics = open_run(folder,
                       0); /* labelled completions of one kind: neither accuracy nor margin, never as "nan" */
    metrics_validation(metrics, 1, 0.6, 100, 0.1, &labels);
    metrics_close(metrics, "done");
    log = read_file(folder, "log.txt"), summary = read_file(folder, "summary.txt");
    assert_non_null(strstr(log, "validation loss 0.6000  (100 tokens"));
    assert_non_null(strstr(summary, "rewards -0.2500 rejected, KL 0.5000"));
    assert_null(strstr(summary, "nan"));
    lines = read_file(folder, "metrics.jsonl");
    assert_non_null(strstr(lines, "\"rewards/margins\": null, \"logps/chosen\": null"));
    free(lines), free(summary), free(log);
    metrics = open_run(folder, 0); /* control: the mean over tokens has one, and no rewards */
    record.preference.is_there = false;
    metrics_step(metrics, &record);
    metrics_validation(metrics, 1, 0.6, 100, 0.1, &record.preference);
    metrics_close(metrics, "done");
    summary = read_file(folder, "summary.txt");
    assert_non_null(strstr(summary, "perplexity"));
    assert_null(strstr(summary, "rewards"));
    free(summary);
    free(folder);
}

static void test_without_metrics(void **state) {
    (void)state;
    struct step_record record = record_of(1, 1);
    struct metrics *metrics = NULL;
    struct err err = {""};
    metrics_step(NULL, &record); /* every rank but the root */
    metrics_note(NULL, "x");
    metrics_validation(NULL, 1, 1, 1, 1, &(struct preference_record){.is_there = false});
    metrics_checkpoint(NULL, &(struct checkpoint_record){1, 1, 1, 1}, "x");
    metrics_close(NULL, "x");
    struct metrics_setup setup = {.run_folder = "build/tmp/absent/folder", .num_steps = 1, .log_every = 1};
    assert_int_equal(metrics_open(&metrics, &setup, &err), -1);
    assert_null(metrics);
    assert_non_null(strstr(err.text, "cannot open 'build/tmp/absent/folder/metrics.jsonl'"));
}

static void test_durations(void **state) {
    (void)state;
    char text[32];
    assert_string_equal(duration_text(8.44, text, sizeof text), "8.4 s");
    assert_string_equal(duration_text(59.97, text, sizeof text), "1 min 00 s");
    assert_string_equal(duration_text(130, text, sizeof text), "2 min 10 s");
    assert_string_equal(duration_text(3599.6, text, sizeof text), "1 h 00 min");
    assert_string_equal(duration_text(11100, text, sizeof text), "3 h 05 min");
    assert_string_equal(duration_text(-1, text, sizeof text), "?");
    assert_string_equal(duration_text(NAN, text, sizeof text), "?");
    assert_string_equal(duration_text(INFINITY, text, sizeof text), "?");
}

/* A line that redraws itself is never wider than the terminal, and what says least goes first; control: without a limit it is
 * wider than that. */
static void test_live_line(void **state) {
    (void)state;
    static const struct live_part parts[] = {
        {"step 120/100000", 3}, {"loss 2.3456", 2}, {"", 3}, {"lr 1.00e-04", 0}, {"ETA 3 h 05 min", 1}};
    char text[LIVE_LINE_ROOM];
    assert_string_equal(live_line_text(parts, 5, 0, text),
                        "step 120/100000  loss 2.3456  lr 1.00e-04  ETA 3 h 05 min");
    assert_true(strlen(text) > 50);
    assert_string_equal(live_line_text(parts, 5, 50, text), "step 120/100000  loss 2.3456  ETA 3 h 05 min");
    assert_string_equal(live_line_text(parts, 5, 40, text), "step 120/100000  loss 2.3456");
    assert_string_equal(live_line_text(parts, 5, 20, text), "step 120/100000");
    assert_string_equal(live_line_text(parts, 5, 6, text), "step 1");
    for (int columns = 1; columns < 80; columns++)
        assert_true(strlen(live_line_text(parts, 5, columns, text)) <= (size_t)columns);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restarts),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_summary_of_one),
        cmocka_unit_test(test_without_metrics),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_preferences),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_live_line),
        cmocka_unit_test(test_status_after_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
