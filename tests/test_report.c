/* test_report.c - the parts of a report: round numbers along axes, numbers as each language writes them, escaping, what a
 * chart keeps of millions of values, which records of metrics.jsonl are the run's, run files compared. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/files.h"
#include "tests/check.h"
#include "train/report/history.h"
#include "train/report/output.h"
#include "train/report/report.h"
#include "train/report/scale.h"
#include "train/report/settings.h"
#include "train/report/ticks.h"

/* --- numbers and texts --- */

/* written - what a call of put_... writes; static buffer. */
#define written(call) (start_text(), (call), end_text())
static FILE *out;
static char *text_bytes;
static size_t text_length;

static void start_text(void) {
    free(text_bytes);
    text_bytes = NULL;
    out = open_memstream(&text_bytes, &text_length);
    assert_non_null(out);
}

static const char *end_text(void) {
    assert_int_equal(fclose(out), 0);
    return text_bytes;
}

static void test_numbers(void **state) {
    (void)state;
    const struct number_marks *en = marks_of(REPORT_ENGLISH), *fr = marks_of(REPORT_FRENCH);
    assert_string_equal(written(put_decimal(out, 1234567.891, 2, en)), "1,234,567.89");
    assert_string_equal(written(put_decimal(out, 1234567.891, 2, fr)), "1\u202f234\u202f567,89");
    assert_string_equal(written(put_decimal(out, 999, 0, fr)), "999");
    assert_string_equal(written(put_decimal(out, -1000, 0, en)), "-1,000");
    assert_string_equal(written(put_decimal(out, -0.001, 1, en)), "0.0");
    assert_string_equal(written(put_decimal(out, NAN, 1, en)), "–");
    assert_string_equal(written(put_rounded(out, 9.996, 3, en)), "10.0");
    assert_string_equal(written(put_rounded(out, 5.43678, 4, fr)), "5,437");
    assert_string_equal(written(put_rounded(out, 0.00012345, 2, en)), "0.00012");
    assert_string_equal(written(put_rounded(out, 1.5e-7, 2, fr)), "1,5 × 10⁻⁷");
    assert_string_equal(written(put_rounded(out, 31236.4, 4, en)), "31,236");
    assert_string_equal(written(put_rounded(out, 0, 4, en)), "0");
    assert_string_equal(written(put_power(out, -12)), "10⁻¹²");
}

/* What is no character of XML never gets out, whatever a name holds. */
static void test_escaping(void **state) {
    (void)state;
    assert_string_equal(written(put_html(out, "<b a='1' c=\"2\">&amp;")),
                        "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;amp;");
    assert_string_equal(written(put_html(out, "a\nb\tc\x01\x7f")), "a b c??");
    assert_string_equal(written(put_html(out, "\xff\xfe é")), "\ufffd\ufffd é");
    assert_string_equal(written(put_html(out, "left\u202eright\u200b")), "left?right?");
    assert_string_equal(written(put_html(out, "\uffff")), "?");
    assert_string_equal(written(put_html_lines(out, "a\n<b\n")), "a\n&lt;b\n");
    char long_text[1001];
    memset(long_text, 'x', 1000);
    long_text[1000] = '\0';
    assert_int_equal(strlen(written(put_html(out, long_text))), 403);
}

/* Every word is there in both languages, and none would break the page. */
static void test_words(void **state) {
    (void)state;
    int num_same = 0;
    for (int w = 0; w < WORD_COUNT; w++)
        for (int l = 0; l < REPORT_LANGUAGES; l++) {
            const char *word = word_of((enum word)w, (enum report_language)l);
            if (!word || !word[0] || strpbrk(word, "<>&"))
                fail_msg("word %d of language %d is '%s'", w, l, word ? word : "NULL");
            num_same += l > 0 && strcmp(word, word_of((enum word)w, REPORT_ENGLISH)) == 0;
        }
    assert_true(num_same < WORD_COUNT / 8); /* "Phase", "Machine": few are the same in both */
}

/* --- axes --- */

/* is_round - 1, 2 or 5 times a power of ten. */
static bool is_round(double step) {
    double lead = step / pow(10, floor(log10(step) + 1e-6));
    return fabs(lead - 1) < 1e-6 || fabs(lead - 2) < 1e-6 || fabs(lead - 5) < 1e-6;
}

static void assert_axis(double low, double high) {
    struct ticks ticks = ticks_linear(low, high, 5);
    if (ticks.count < 2 || ticks.count > TICKS_MAX)
        fail_msg("an axis from %g to %g has %d ticks", low, high, ticks.count);
    double step = ticks.at[1] - ticks.at[0], slack = 1e-6 * step;
    if (!is_round(step) || ticks.low > low + slack || ticks.high < high - slack ||
        ticks.at[0] < ticks.low - slack || ticks.at[ticks.count - 1] > ticks.high + slack)
        fail_msg("an axis from %g to %g has ticks from %g, each %g more", low, high, ticks.at[0], step);
    for (int i = 0; i + 1 < ticks.count; i++) { /* no two are written alike */
        char one[64], next[64];
        snprintf(one, sizeof one, "%.*f", ticks.num_decimals, ticks.at[i]);
        snprintf(next, sizeof next, "%.*f", ticks.num_decimals, ticks.at[i + 1]);
        assert_string_not_equal(one, next);
    }
}

static void test_ticks(void **state) {
    (void)state;
    for (int i = 0; i < 2000; i++) {
        double low = (i % 50 - 20) * 0.37, span = pow(10, i % 17 - 8) * (1 + i % 9);
        if (span > 1e-9 * fabs(low)) /* closer than that no axis tells them apart */
            assert_axis(low, low + span);
    }
    assert_axis(3, 3);
    assert_axis(0, 0);
    assert_false(is_round(0.3)); /* the control */
    struct ticks wide = ticks_log(0.02, 900);
    assert_true(wide.is_log && wide.count >= 4);
    assert_true(fabs(ticks_place(&wide, sqrt(0.02 * 900)) - 0.5) < 1e-9);
    assert_true(ticks_place(&wide, -1) == 0 && ticks_place(&wide, 1e9) == 1);
    struct ticks steps = ticks_whole(0, 250, 7);
    assert_true(steps.at[1] == 50 && steps.count == 6 && steps.high == 250);
    assert_int_equal(ticks_whole(0, 1, 7).count, 2);
}

static void test_scales(void **state) {
    (void)state;
    struct scale bytes = scale_of(UNIT_BYTES, 65.2e6, REPORT_FRENCH);
    assert_string_equal(written(scale_put(out, &bytes)), "Mo");
    assert_true(bytes.divisor == 1e6);
    struct scale rate = scale_of(UNIT_PLAIN, 3e-4, REPORT_ENGLISH);
    assert_string_equal(written(scale_put(out, &rate)), "× 10⁻⁴, no unit");
    struct scale seconds = scale_of(UNIT_SECONDS, 0.02, REPORT_ENGLISH);
    assert_string_equal(written(scale_put(out, &seconds)), "ms");
}

/* --- series --- */

/* A spike of one step in three million stays, in its bucket and in the whole; the mean does not show it. */
static void test_spikes_stay(void **state) {
    (void)state;
    enum { STEPS = 3000000, SPIKE = 1234567 };
    struct series series = series_open(&(struct series_axis){0, STEPS, SERIES_BUCKETS});
    for (int64_t step = 1; step <= STEPS; step++)
        series_add(&series, step, step == SPIKE ? 900 : step == SPIKE + 50000 ? -7 : 2);
    series_add(&series, 5, NAN);
    series_add(&series, 5, INFINITY);
    series_add(&series, 5, 1e300);
    series_add(&series, STEPS + 1, 1);
    assert_true(series.high == 900 && series.high_at == SPIKE);
    assert_true(series.low == -7 && series.low_at == SPIKE + 50000);
    assert_true(series.count == STEPS && series.first == 2 && series.last_at == STEPS);
    int num_high = 0, num_low = 0;
    for (int b = 0; b < SERIES_BUCKETS; b++) {
        num_high += series.buckets[b].high == 900;
        num_low += series.buckets[b].low == -7;
        assert_true(series_mean(&series.buckets[b]) < 3); /* the control: means alone would hide it */
    }
    assert_int_equal(num_high, 1);
    assert_int_equal(num_low, 1);
    series_close(&series);
}

/* --- metrics.jsonl --- */

/* make_run - a run folder with these metrics; freed with free(). */
static char *make_run(const char *name, const char *metrics) {
    struct err err = {""};
    char *folder = test_folder(name), *path = xasprintf("%s/metrics.jsonl", folder);
    assert_int_equal(file_create(path, metrics, strlen(metrics), &err), 0);
    free(path);
    return folder;
}

static void read_history(struct history *history, const char *folder) {
    struct err err = {""};
    struct metrics_walk walk;
    if (metrics_walk_open(&walk, folder, &err) != 0 ||
        history_read(history, &walk, &(struct series_axis){0, walk.last_step, SERIES_BUCKETS}, &err) != 0)
        fail_msg("%s", err.text);
    metrics_walk_close(&walk);
}

/* Steps 3 and 4 were lost with a crash and done again: only the second time is the run's. */
static void test_restart(void **state) {
    (void)state;
    char *folder = make_run(
        "report_restart",
        "{\"event\": \"start\", \"after_step\": 0, \"steps\": 5}\n"
        "{\"step\": 1, \"loss\": 9}\n{\"step\": 2, \"loss\": 8}\n"
        "{\"step\": 3, \"loss\": 70}\n{\"step\": 4, \"loss\": 60}\n"
        "{\"event\": \"validation\", \"step\": 4, \"loss\": 0.5}\n"
        "{\"step\": 5, \"lo\n"
        "{\"event\": \"start\", \"after_step\": 2, \"steps\": 5}\n"
        "{\"step\": 3, \"loss\": 7, \"tokens\": 10, \"seconds\": 2}\n"
        "{\"step\": 4, \"loss\": null}\n"
        "{\"event\": \"validation\", \"step\": 4, \"loss\": 6.5, \"bits_per_byte\": 2.5, \"sources\": "
        "[{\"source\": \"a/b\", \"loss\": 6, \"bits_per_byte\": 2}, {\"source\": \"c\", "
        "\"loss\": 7}, {\"source\": \"d\", \"loss\": null}, 5, {\"loss\": 1}]}\n"
        "{\"step\": 5, \"loss\": 6}\n{\"step\": 6, \"loss\": 1");
    struct history history;
    read_history(&history, folder);
    const struct series *loss = &history.steps[QUANTITY_LOSS];
    assert_int_equal(history.num_steps, 5);
    assert_int_equal(history.num_redone, 2);
    assert_int_equal(history.num_restarts, 1);
    assert_int_equal(history.restarts[0], 2);
    assert_int_equal(history.num_unreadable, 1); /* the line that the crash cut */
    assert_true(loss->count == 4 && loss->high == 9 && loss->last == 6 && loss->last_at == 5);
    assert_true(history.validation.count == 1 && history.best_row.loss == 6.5);
    assert_int_equal(history.num_sources, 2);
    assert_string_equal(history.sources[0].name, "a/b");
    assert_true(history.sources[1].loss.last == 7);
    assert_true(history.has_bits && history.best_row.bits_per_byte == 2.5);
    assert_true(history.sources[0].bits_per_byte == 2 && isnan(history.sources[1].bits_per_byte));
    assert_true(history.tokens == 10 && history.seconds == 2);
    assert_true(isnan(history.phase_s[QUANTITY_DATA])); /* a mean over nothing is not a number */
    assert_int_equal(history.steps[QUANTITY_SPEED].count, 0);
    history_close(&history);
    free(folder);
}

/* A start anew leaves all that was. */
static void test_start_anew(void **state) {
    (void)state;
    char *folder = make_run("report_anew", "{\"event\": \"start\", \"after_step\": 0, \"steps\": 2}\n"
                                           "{\"event\": \"validation\", \"step\": 0, \"loss\": 3}\n"
                                           "{\"step\": 1, \"loss\": 9}\n"
                                           "{\"event\": \"start\", \"after_step\": 0, \"steps\": 2}\n"
                                           "{\"step\": 1, \"loss\": 5}\n");
    struct history history;
    read_history(&history, folder);
    assert_true(history.steps[QUANTITY_LOSS].count == 1 && history.steps[QUANTITY_LOSS].first == 5);
    assert_int_equal(history.validation.count, 0);
    history_close(&history);
    free(folder);
}

/* A file without a line that can be read is no record; the control: with one more line it is. */
static void test_unreadable_metrics(void **state) {
    (void)state;
    static const char *const files[] = {"\x01\x02\n\xff{\n\n",
                                        "\x01\x02\n\xff{\n\n{\"step\": 1, \"loss\": 2}\n"};
    for (int i = 0; i < 2; i++) {
        struct err err = {""};
        struct history history;
        struct metrics_walk walk;
        char *folder = make_run("report_unreadable", files[i]);
        assert_int_equal(metrics_walk_open(&walk, folder, &err), 0);
        int status = history_read(&history, &walk, &(struct series_axis){0, 1, SERIES_BUCKETS}, &err);
        assert_int_equal(status, i == 0 ? -1 : 0);
        assert_int_equal(history.num_unreadable, 3);
        assert_true(i == 1 || strstr(err.text, "no line that can be read"));
        history_close(&history);
        metrics_walk_close(&walk);
        free(folder);
    }
}

/* Hostile records are passed over: none stops the report or gets into a number. */
static void test_hostile_metrics(void **state) {
    (void)state;
    struct err err = {""};
    char *long_line = xcalloc(1, 200000), *metrics;
    memset(long_line, '[', 199999);
    metrics = xasprintf(
        "%s\n[1]\n{}\n\"x\"\n{\"step\": -4, \"loss\": 1}\n{\"step\": 9000000000000000000, \"loss\": 1}\n"
        "{\"step\": \"1\"}\n{\"event\": 7, \"step\": 1}\n{\"event\": \"start\", \"after_step\": -1}\n"
        "{\"step\": 1, \"loss\": \"low\", \"tokens\": {}, \"update\": \"x\", \"time\": 5}\n"
        "{\"step\": 2, \"loss\": 1e999}\n{\"event\": \"ranks\", \"step\": 2, \"compute_median_s\": 0, "
        "\"compute_slowest_s\": 0, \"slowest_rank\": 1}\n{\"step\": 3, \"loss\": 4}\n",
        long_line);
    char *folder = make_run("report_hostile", metrics);
    struct history history;
    read_history(&history, folder);
    assert_true(history.steps[QUANTITY_LOSS].count == 1 && history.steps[QUANTITY_LOSS].first == 4);
    assert_int_equal(history.last_step, 3);
    assert_int_equal(history.num_comparisons, 0);
    /* Too long, a list, a text, a number beyond a double; steps below, beyond and as a text, an event of no name, a start
     * before the beginning, a loss that is a text. */
    assert_int_equal(history.num_unreadable, 4 + 6);
    history_close(&history);
    struct metrics_walk walk;
    assert_int_equal(metrics_walk_open(&walk, "build/tmp/no-such-run", &err), -1);
    metrics_walk_close(&walk);
    free(folder);
    free(metrics);
    free(long_line);
}

/* Many validations: the table stays short and has the best and the last. */
static void test_thinning(void **state) {
    (void)state;
    char *metrics = NULL;
    size_t length;
    FILE *file = open_memstream(&metrics, &length);
    for (int i = 1; i <= 1000; i++)
        fprintf(file, "{\"event\": \"validation\", \"step\": %d, \"loss\": %g}\n", i,
                i == 777 ? 0.25 : 3.0 + i);
    fclose(file);
    char *folder = make_run("report_thinning", metrics);
    struct history history;
    read_history(&history, folder);
    assert_true(history.num_rows <= HISTORY_ROWS && history.num_rows >= HISTORY_ROWS / 4);
    assert_true(history.best_row.step == 777 && history.last_row.step == 1000);
    assert_int_equal(history.num_validations, 1000);
    for (int i = 1; i < history.num_rows; i++)
        assert_int_equal(history.rows[i].step - history.rows[i - 1].step, history.stride);
    history_close(&history);
    free(folder);
    free(metrics);
}

/* --- the page --- */

/* page_of - of these folders, malloc'ed; NULL where they cannot be read. */
static char *page_of(const char *const *folders, int count) {
    struct err err = {""};
    size_t length;
    struct report *report = xcalloc(1, sizeof *report);
    char *page = report_read(report, folders, count, &err) == 0 ? report_text(report, 0, &length) : NULL;
    if (!page && !strstr(err.text, "no line that can be read"))
        fail_msg("%s", err.text);
    report_close(report);
    free(report);
    return page;
}

/* Whatever bytes metrics.jsonl has, the page is made unless no line can be read, whole and without an element that is not ours. */
static void test_damaged_metrics(void **state) {
    (void)state;
    enum { TRIES = 400 };
    static const char whole[] =
        "{\"event\": \"start\", \"after_step\": 0, \"steps\": 5, \"time\": \"2026-01-02T03:04:05.678Z\"}\n"
        "{\"step\": 1, \"loss\": 9, \"grad_norm\": 1e-3, \"tokens\": 7, \"seconds\": 0.5, \"data_s\": 0.1}\n"
        "{\"event\": \"ranks\", \"step\": 1, \"compute_median_s\": 1, \"compute_slowest_s\": 2, \"slowest_rank\": 1, "
        "\"slowest_host\": \"<script>\"}\n"
        "{\"event\": \"validation\", \"step\": 1, \"loss\": 3, \"sources\": {\"<script>\": 2}}\n"
        "{\"event\": \"start\", \"after_step\": 1, \"steps\": 5}\n{\"step\": 2, \"loss\": 8}\n{\"step\": 3, \"loss\": 7}\n";
    uint64_t seed = 1;
    int num_refused = 0;
    char damaged[sizeof whole];
    for (int i = 0; i < TRIES; i++) {
        memcpy(damaged, whole, sizeof whole);
        for (int k = 0; k < i % 4; k++) { /* the first try of four is the file as it is */
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            char byte = "09-.e\"{}[],: <>&\\\xff\x01u"[(seed >> 33) % 21];
            damaged[(seed >> 40) % (sizeof whole - 1)] = byte;
        }
        char *folder = make_run("report_damaged", damaged), *page = page_of((const char *const[]){folder}, 1);
        num_refused += !page;
        if (!page) {
            free(folder);
            continue;
        }
        assert_non_null(strstr(page, "</body></html>"));
        assert_null(strstr(page, "<script"));
        assert_null(strstr(page, "Lnan"));
        assert_null(strstr(page, " nan"));
        if (i % 4 == 0)
            assert_non_null(strstr(page, "&lt;script&gt;"));
        free(page);
        free(folder);
    }
    assert_true(num_refused < TRIES / 20); /* of those that are cut in the first lines */
}

/* Eight long runs of one name: told apart, and the page is under a megabyte. */
static void test_many_runs(void **state) {
    (void)state;
    char *metrics = NULL;
    size_t length;
    FILE *file = open_memstream(&metrics, &length);
    for (int i = 1; i <= 4000; i++)
        fprintf(
            file,
            "{\"step\": %d, \"loss\": %g, \"grad_norm\": %g, \"learning_rate\": %g, \"tokens_per_s\": %g, "
            "\"peak_memory_bytes\": %d, \"data_s\": %g, \"forward_s\": %g, \"backward_s\": %g, \"comm_s\": %g, "
            "\"optimizer_s\": %g, \"seconds\": 1, \"tokens\": 9}\n",
            i, 3 + sin(i), 2 + cos(i * 0.7), 1e-4 * i, 1e5 + 1e4 * sin(i * 0.3), 1000000 + i,
            0.1 + 0.01 * sin(i), 0.2 + 0.1 * cos(i), 0.3, 0.1 + 0.05 * sin(i * 3), 0.1);
    fclose(file);
    char *folder = make_run("report_many", metrics);
    const char *folders[REPORT_RUNS_MAX];
    for (int i = 0; i < REPORT_RUNS_MAX; i++)
        folders[i] = folder;
    char *page = page_of(folders, REPORT_RUNS_MAX);
    assert_non_null(page);
    assert_true(strlen(page) < 1000000 && strlen(page) > 200000);
    assert_non_null(strstr(page, " (8)"));
    assert_null(strstr(page, " (9)"));
    free(page);
    free(folder);
    free(metrics);
}

/* --- run files, outputs --- */

static void test_settings(void **state) {
    (void)state;
    struct settings s =
        settings_read("run:\n  folder: \"a: b\"\n  seed: 7\ndata:\n  train:\n    - path: x.h5\n      "
                      "weight: 1\n    - path: y.h5\n  tags:\n    - one\n    - two\nend: 1");
    assert_string_equal(settings_find(&s, "run.folder"), "\"a: b\"");
    assert_string_equal(settings_find(&s, "run.seed"), "7");
    assert_string_equal(settings_find(&s, "data.train.1.weight"), "1");
    assert_string_equal(settings_find(&s, "data.train.2.path"), "y.h5");
    assert_string_equal(settings_find(&s, "data.tags.2"), "two");
    assert_string_equal(settings_find(&s, "end"), "1");
    assert_null(settings_find(&s, "run"));
    settings_free(&s);
    s = settings_read(NULL);
    assert_int_equal(s.count, 0);
    s = settings_read("- - - -\n                                                  deep: 1\n:\n: x\n  -\n");
    settings_free(&s);
}

/* Nothing but a report of ours is written over. */
static void test_output(void **state) {
    (void)state;
    struct err err = {""};
    char *folder = test_folder("report_output"), *path = xasprintf("%s/page.html", folder);
    assert_int_equal(output_check(path, REPORT_MARK, "--output", &err), 0);
    assert_int_equal(file_create(path, "<html>", 6, &err), 0);
    assert_int_equal(output_check(path, REPORT_MARK, "--output", &err), -1);
    assert_non_null(strstr(err.text, "choose another --output"));
    assert_int_equal(output_check(folder, REPORT_MARK, "--output", &err), -1);
    const char *ours = "<!DOCTYPE html>\n<head>" REPORT_MARK;
    assert_int_equal(file_create(path, ours, strlen(ours), &err), 0);
    assert_int_equal(output_check(path, REPORT_MARK, "--output", &err), 0);
    char *partial = xasprintf("%s.partial", path);
    assert_int_equal(file_create(partial, "another's", 9, &err), 0);
    struct output output;
    assert_int_equal(output_open(&output, path, "--output", &err), 0);
    assert_int_equal(output_close(&output, path, -1, &err), -1); /* what failed leaves the old one */
    assert_int_equal(file_size(partial, &err), 9);
    free(partial);
    assert_int_equal(file_size(path, &err), (int64_t)strlen(ours));
    free(path);
    free(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),         cmocka_unit_test(test_escaping),
        cmocka_unit_test(test_words),           cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_scales),          cmocka_unit_test(test_spikes_stay),
        cmocka_unit_test(test_restart),         cmocka_unit_test(test_start_anew),
        cmocka_unit_test(test_hostile_metrics), cmocka_unit_test(test_unreadable_metrics),
        cmocka_unit_test(test_thinning),        cmocka_unit_test(test_damaged_metrics),
        cmocka_unit_test(test_many_runs),       cmocka_unit_test(test_settings),
        cmocka_unit_test(test_output)};
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    free(text_bytes);
    return status;
}
