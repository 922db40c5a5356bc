/* metrics_csv.c - rows of the table. */
#include "train/report/metrics_csv.h"

#include <stdlib.h>
#include <string.h>

#include "train/report/output.h"

/* The columns after run, step and event: keys of metrics.jsonl. */
static const char *const COLUMNS[] = {"time",
                                      "loss",
                                      "bits_per_byte",
                                      "grad_norm",
                                      "learning_rate",
                                      "tokens",
                                      "target_tokens",
                                      "update",
                                      "seconds",
                                      "tokens_per_s",
                                      "gflops_per_s",
                                      "data_s",
                                      "forward_s",
                                      "backward_s",
                                      "comm_s",
                                      "optimizer_s",
                                      "peak_memory_bytes",
                                      "cross_entropy",
                                      "kl",
                                      "load_balance",
                                      "router_z",
                                      "fullest_expert",
                                      "emptiest_expert",
                                      "rewards/chosen",
                                      "rewards/rejected",
                                      "rewards/margins",
                                      "rewards/accuracies",
                                      "skipped"};
enum { NUM_COLUMNS = sizeof COLUMNS / sizeof COLUMNS[0] };

/* put_text - quoted where it must be.  What a spreadsheet would take for a formula gets an apostrophe before it. */
static void put_text(FILE *out, const char *text) {
    bool is_formula = text[0] && strchr("=+-@\t\r", text[0]);
    if (!is_formula && !strpbrk(text, ",\"\r\n")) {
        fputs(text, out);
        return;
    }
    fputs(is_formula ? "\"'" : "\"", out);
    for (const char *at = text; *at; at++) {
        if (*at == '"')
            putc('"', out);
        putc(*at, out);
    }
    putc('"', out);
}

/* put_shortest - with as few digits as give the same double again. */
static void put_shortest(FILE *out, double value) {
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    fputs(text, out);
}

/* put_value - what is absent or null is an empty cell. */
static void put_value(FILE *out, const json_t *value) {
    if (json_is_integer(value))
        fprintf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        put_shortest(out, json_real_value(value));
    else if (json_is_string(value))
        put_text(out, json_string_value(value));
}

struct csv {
    FILE *out;
    const char *run;
};

/* visit - a metrics_visit. */
static void visit(void *context, const struct metrics_line *line) {
    struct csv *csv = context;
    if (!line->object || !line->counts ||
        (strcmp(line->event, "step") != 0 && strcmp(line->event, "validation") != 0))
        return;
    put_text(csv->out, csv->run);
    fprintf(csv->out, ",%lld,%s", (long long)line->step, line->event);
    for (int i = 0; i < NUM_COLUMNS; i++) {
        putc(',', csv->out);
        put_value(csv->out, json_object_get(line->object, COLUMNS[i]));
    }
    fputs("\r\n", csv->out);
}

int metrics_csv_write(const struct report *report, const char *path, struct err *err) {
    struct output output;
    int status = 0;
    if (output_open(&output, path, "--csv", err) != 0)
        return -1;
    FILE *out = output.file;
    fputs(METRICS_CSV_MARK, out);
    for (int i = 0; i < NUM_COLUMNS; i++)
        fprintf(out, ",%s", COLUMNS[i]);
    fputs("\r\n", out);
    for (int i = 0; i < report->num_runs && status == 0; i++) {
        struct csv csv = {out, report->runs[i].name};
        status = metrics_walk_each(&report->runs[i].walk, visit, &csv, err);
    }
    return output_close(&output, path, status, err);
}
