/* cmd_report.c - `atelier report RUN [RUN...]`: runs as one HTML page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/file.h"
#include "train/commands/commands.h"
#include "train/report/metrics_csv.h"
#include "train/report/output.h"
#include "train/report/report.h"

struct report_words {
    const char *run;
    struct option_list others;
    const char *language, *output, *csv;
};

static const struct option OPTIONS[] = {
    {.name = "RUN",
     .help = "the folder of a run",
     .kind = OPTION_TEXT,
     .at = offsetof(struct report_words, run),
     .is_required = true},
    {.name = "RUN",
     .value = "RUN",
     .help = "further runs, shown beside it: eight at most in all",
     .kind = OPTION_REST,
     .at = offsetof(struct report_words, others)},
    {.name = "--language",
     .value = "en|fr",
     .help = "language of the page",
     .kind = OPTION_CHOICE,
     .at = offsetof(struct report_words, language),
     .fallback = "en"},
    {.name = "--output",
     .value = "FILE",
     .help =
         "the page; an earlier report there is replaced, nothing else; -: standard output; left out: RUN/report.html, of one run",
     .kind = OPTION_TEXT,
     .takes_dash = true,
     .at = offsetof(struct report_words, output)},
    {.name = "--csv",
     .value = "FILE",
     .help = "also the metrics of every step as a table (CSV), for a spreadsheet; -: standard output",
     .kind = OPTION_TEXT,
     .takes_dash = true,
     .at = offsetof(struct report_words, csv)},
};

static int check(const void *given, struct err *err) {
    const struct report_words *words = given;
    for (int i = 0; i < words->others.count; i++) /* the list takes any word that no row takes */
        if (words->others.words[i][0] == '-')
            return options_refuse(OPTIONS, sizeof OPTIONS / sizeof OPTIONS[0], words->others.words[i], err);
    if (words->others.count + 1 > REPORT_RUNS_MAX)
        return err_set(err, "%d runs are too many for one page: at most %d", words->others.count + 1,
                       REPORT_RUNS_MAX);
    if (words->others.count > 0 && !words->output)
        return err_set(err, "--output is missing: a page of several runs belongs to none of their folders");
    return 0;
}

/* write_page - whole or not at all. */
static int write_page(const struct report *report, const char *path, struct err *err) {
    size_t length_bytes;
    struct output out;
    if (output_open(&out, path, "--output", err) != 0)
        return -1;
    char *text = report_text(report, time(NULL), &length_bytes);
    fwrite(text, 1, length_bytes, out.file); /* what fails is seen when the file is closed */
    free(text);
    return output_close(&out, path, 0, err);
}

/* tell - of a file: what goes to standard output is seen there, and nothing else may stand in it. */
static void tell(FILE *out, const char *path) {
    if (!output_is_stdout(path))
        fprintf(out, "wrote '%s'\n", path);
}

static int write_all(const struct report_words *words, struct report *report, const char *path,
                     struct err *err) {
    const char *folders[REPORT_RUNS_MAX] = {words->run};
    bool is_piped = output_is_stdout(path) || (words->csv && output_is_stdout(words->csv));
    FILE *told = is_piped ? stderr : stdout;
    for (int i = 0; i < words->others.count; i++)
        folders[i + 1] = words->others.words[i];
    if (words->csv && file_is_same_place(path, words->csv))
        return err_set(err, "--csv: '%s' is where the page goes: name another file", words->csv);
    if (output_check(path, REPORT_MARK, "--output", err) != 0 ||
        (words->csv && output_check(words->csv, METRICS_CSV_MARK, "--csv", err) != 0) ||
        report_read(report, folders, words->others.count + 1, err) != 0 || write_page(report, path, err) != 0)
        return -1;
    tell(told, path);
    if (words->csv && metrics_csv_write(report, words->csv, err) != 0)
        return -1;
    if (words->csv)
        tell(told, words->csv);
    return 0;
}

static int run(int argc, char **argv) {
    struct report_words words;
    struct err err = {""};
    if (!command_words(&COMMAND_report, &words, argc, argv))
        return EXIT_USAGE;
    struct report *report = xcalloc(1, sizeof *report);
    report->language = strcmp(words.language, "fr") == 0 ? REPORT_FRENCH : REPORT_ENGLISH;
    char *path = words.output ? xstrdup(words.output) : xasprintf("%s/report.html", words.run);
    int status = write_all(&words, report, path, &err);
    report_close(report);
    free(report);
    free(path);
    if (status == 0)
        return EXIT_DONE;
    fprintf(stderr, "error: %s\n", err.text);
    return EXIT_FAULT;
}

const struct command COMMAND_report = {
    .name = "report",
    .summary = "runs as one page for a browser or a printer, in English or French",
    .text =
        "Writes one HTML page about a run, or several side by side: losses, speed, memory, restarts, slow processes, energy "
        "and CO2, evaluations (RUN/eval*.json, as 'atelier eval ... --json' prints them), provenance and run file.  The page "
        "needs no network, no script and no other file, and prints on A4.",
    .options = OPTIONS,
    .num_options = sizeof OPTIONS / sizeof OPTIONS[0],
    .words_bytes = sizeof(struct report_words),
    .check = check,
    .run = run,
};
