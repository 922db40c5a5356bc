/* page.c - cells and tables. */
#include "train/report/page.h"

#include <math.h>
#include <string.h>

#include "kernels/units.h"

enum { DIGITS = 4 };

const char *page_word(const struct page *page, enum word word) {
    return word_of(word, page->language);
}

void page_note(const struct page *page, enum word word) {
    fprintf(page->out, "<p class=\"note\">%s</p>\n", page_word(page, word));
}

void page_absent(const struct page *page) {
    fprintf(page->out, "<p class=\"absent\">%s</p>\n", page_word(page, WORD_NOT_RECORDED));
}

/* --- values --- */

static void put_absent(const struct page *page) {
    fprintf(page->out, "<span class=\"absent\">%s</span>", page_word(page, WORD_NOT_RECORDED));
}

void page_count(const struct page *page, int64_t value) {
    if (value < 0)
        put_absent(page);
    else
        put_decimal(page->out, (double)value, 0, marks_of(page->language));
}

void page_number(const struct page *page, double value) {
    if (isfinite(value))
        put_rounded(page->out, value, DIGITS, marks_of(page->language));
    else
        put_absent(page);
}

/* The bounds lie half a unit of the last figure below a minute and an hour, as in the run's own summary. */
void page_duration(const struct page *page, double seconds) {
    const struct number_marks *marks = marks_of(page->language);
    if (!(seconds >= 0 && seconds < 1e12)) {
        put_absent(page);
    } else if (seconds < 59.95) {
        put_decimal(page->out, seconds, 1, marks);
        fputs(" s", page->out);
    } else if (seconds < 3599.5) {
        fprintf(page->out, "%d min %02d s", (int)((seconds + 0.5) / MINUTE_S),
                (int)fmod(seconds + 0.5, MINUTE_S));
    } else {
        put_decimal(page->out, floor((seconds + 30) / HOUR_S), 0, marks);
        fprintf(page->out, " h %02d min", (int)(fmod(seconds + 30, HOUR_S) / MINUTE_S));
    }
}

void page_text(const struct page *page, const char *text) {
    if (text && text[0])
        put_html(page->out, text);
    else
        put_absent(page);
}

const char *page_objective(const struct run_facts *run) {
    const char *objective;
    bool has_one =
        run->provenance && json_get_string(run->provenance, "procedure/objective", &objective, NULL) == 0;
    return has_one ? objective : NULL;
}

void page_loss(const struct page *page, const struct run_facts *run, double loss) {
    page_number(page, loss);
    if (isfinite(loss) && !page_objective(run))
        fprintf(page->out, " %s", page_word(page, WORD_UNIT_NATS));
}

void page_run_title(const struct page *page, const struct run_facts *run) {
    if (page->num_runs < 2)
        return;
    fputs("<h3>", page->out);
    put_html(page->out, run->name);
    fputs("</h3>\n", page->out);
}

void page_valid_learnt(const struct page *page, const struct run_facts *run) {
    if (!run->is_valid_learnt)
        return;
    fputs("<p class=\"note\">", page->out);
    if (page->num_runs > 1) {
        put_html(page->out, run->name);
        fputs(page_word(page, WORD_COLON), page->out);
    }
    fprintf(page->out, "%s</p>\n", page_word(page, WORD_VALID_LEARNT));
}

/* --- tables --- */

void page_table(const struct page *page, const char *caption) {
    bool is_title = strcmp(caption, page_word(page, page->title)) == 0;
    fprintf(page->out, "<div class=\"wide\"><table><caption%s>", is_title ? " class=\"title\"" : "");
    put_html(page->out, caption);
    fputs("</caption>\n", page->out);
}

void page_table_runs(const struct page *page, const char *caption) {
    page_table(page, caption);
    if (page->num_runs > 1) {
        fputs("<thead><tr><td></td>", page->out);
        for (int i = 0; i < page->num_runs; i++) {
            fputs("<th scope=\"col\" class=\"number\">", page->out);
            put_html(page->out, page->runs[i].name);
            fputs("</th>", page->out);
        }
        fputs("</tr></thead>\n", page->out);
    }
    fputs("<tbody>\n", page->out);
}

void page_columns(const struct page *page, const enum word *words, int count) {
    fputs("<thead><tr>", page->out);
    for (int i = 0; i < count; i++)
        fprintf(page->out, "<th scope=\"col\">%s</th>", page_word(page, words[i]));
    fputs("</tr></thead>\n<tbody>\n", page->out);
}

void page_table_end(const struct page *page) {
    fputs("</tbody></table></div>\n", page->out);
}

void page_row(const struct page *page, enum word name, page_cell *put) {
    fprintf(page->out, "<tr><th scope=\"row\">%s</th>", page_word(page, name));
    for (int i = 0; i < page->num_runs; i++) {
        page_td_number(page);
        put(page, &page->runs[i]);
        page_td_end(page);
    }
    fputs("</tr>\n", page->out);
}

void page_td(const struct page *page) {
    fputs("<td>", page->out);
}

void page_td_number(const struct page *page) {
    fputs("<td class=\"number\">", page->out);
}

void page_td_end(const struct page *page) {
    fputs("</td>", page->out);
}
