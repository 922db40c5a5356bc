/* live_line.c - see live_line.h. */
#include "train/record/live_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* join - the pieces from a weight on. */
static void join(const struct live_part *parts, int num_parts, int from, char *text) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < num_parts; i++) {
        if (parts[i].weight < from || !parts[i].text[0] || used >= LIVE_LINE_ROOM)
            continue;
        used +=
            (size_t)snprintf(text + used, LIVE_LINE_ROOM - used, "%s%s", used > 0 ? "  " : "", parts[i].text);
    }
}

const char *live_line_text(const struct live_part *parts, int num_parts, int columns, char *text) {
    int most = 0;
    for (int i = 0; i < num_parts; i++)
        most = parts[i].weight > most ? parts[i].weight : most;
    join(parts, num_parts, 0, text);
    for (int from = 1; columns > 0 && strlen(text) > (size_t)columns && from <= most; from++)
        join(parts, num_parts, from, text);
    if (columns > 0 && strlen(text) > (size_t)columns)
        text[columns] = '\0';
    return text;
}

int live_line_columns(void) {
    enum { USUAL = 80, WIDEST = 10000 };
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    const char *said = getenv("COLUMNS");
    long columns = said ? strtol(said, NULL, 10) : 0;
    return columns > 0 && columns <= WIDEST ? (int)columns : USUAL;
}

/* The last column stays free: some terminals go to the next row when it is written. */
void live_line_show(const struct live_part *parts, int num_parts) {
    char text[LIVE_LINE_ROOM];
    int columns = live_line_columns();
    fprintf(stderr, "\r\033[K%s", live_line_text(parts, num_parts, columns > 1 ? columns - 1 : 1, text));
    fflush(stderr);
}

void live_line_end(void) {
    fputs("\r\033[K", stderr);
}
