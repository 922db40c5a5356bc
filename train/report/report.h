/* report.h - runs as one HTML page that needs nothing but itself: no script, no network, no other file.  Any browser opens it,
 * light or dark, and prints it on A4. */
#pragma once

#include "train/report/run_facts.h"
#include "train/report/words.h"

enum { REPORT_RUNS_MAX = 8 };

/* The first line of every report has this, by which it is known again: nothing else is written over. */
#define REPORT_MARK "<meta name=\"generator\" content=\"atelier report\"/>"

/* report_read - all runs, with axes in common.  Returns 0, or -1 with err set (run_facts.h).  report_close frees what is
 * there, also after a failure. */
struct report {
    struct run_facts runs[REPORT_RUNS_MAX];
    int num_runs;
    enum report_language language;
};
int report_read(struct report *report, const char *const *folders, int num_folders, struct err *err);
void report_close(struct report *report);

/* report_text - the page, malloc'ed; now: seconds since 1970, when it is written. */
char *report_text(const struct report *report, int64_t now, size_t *length_bytes);
