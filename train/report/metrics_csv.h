/* metrics_csv.h - the metrics of runs as a table for spreadsheets: a row for each step and each validation that is still the
 * run's.  RFC 4180: commas, a point in numbers, lines ending in CR LF, UTF-8. */
#pragma once

#include "train/report/report.h"

/* How the file begins, by which an earlier one is known again. */
#define METRICS_CSV_MARK "run,step,event"

/* metrics_csv_write - a new file, or one of ours in its place.  Returns 0, or -1 with err set: a file of another kind is there,
 * I/O error. */
int metrics_csv_write(const struct report *report, const char *path, struct err *err);
