/* page_provenance.c - what the model was made of, from the provenance of the newest checkpoint.  All texts come from users'
 * files. */
#include <math.h>
#include <string.h>

#include "train/report/page.h"

enum { CORPORA_SHOWN = 200 };

static const char *text_of(const json_t *object, const char *key) {
    const char *text;
    return json_get_string(object, key, &text, NULL) == 0 && text[0] ? text : NULL;
}

/* count_of - -1 where it is not known. */
static int64_t count_of(const json_t *object, const char *key) {
    int64_t value;
    return json_get_int(object, key, &value, NULL) == 0 ? value : -1;
}

/* --- of the model --- */

static void put_program(const struct page *page, const struct run_facts *run) {
    page_text(page, text_of(run->provenance, "program"));
}

static void put_parameters(const struct page *page, const struct run_facts *run) {
    const char *type = text_of(run->provenance, "model/model_type"),
               *dtype = text_of(run->provenance, "model/dtype");
    page_count(page, count_of(run->provenance, "model/parameters"));
    fputs(" (", page->out);
    page_text(page, type);
    fputs(", ", page->out);
    page_text(page, dtype);
    fputs(")", page->out);
}

static void put_adapter(const struct page *page, const struct run_facts *run) {
    const char *method = text_of(run->provenance, "model/adapter/method");
    if (!json_find(run->provenance, "model/adapter")) {
        fputs(page_word(page, WORD_NONE), page->out);
        return;
    }
    page_text(page, method ? method : "?");
    fputs(", ", page->out);
    page_count(page, count_of(run->provenance, "model/adapter/parameters"));
}

static const json_t *base_of(const struct run_facts *run) {
    return json_find(run->provenance, "base_model");
}

static void put_base(const struct page *page, const struct run_facts *run) {
    const char *repository = text_of(base_of(run), "repository");
    if (base_of(run))
        page_text(page, repository ? repository : text_of(base_of(run), "name"));
    else
        fputs(page_word(page, WORD_NO_BASE), page->out);
}

/* put_of_base - a text of the base model, where there is one. */
static void put_of_base(const struct page *page, const struct run_facts *run, const char *key) {
    if (base_of(run))
        page_text(page, text_of(base_of(run), key));
    else
        fputs("–", page->out);
}

static void put_base_licence(const struct page *page, const struct run_facts *run) {
    put_of_base(page, run, "licence");
}

static void put_base_hash(const struct page *page, const struct run_facts *run) {
    fputs("<span class=\"hash\">", page->out);
    put_of_base(page, run, "sha256");
    fputs("</span>", page->out);
}

static void put_teachers(const struct page *page, const struct run_facts *run) {
    size_t i;
    json_t *one, *teachers = json_find(run->provenance, "teachers");
    if (json_array_size(teachers) == 0)
        fputs(page_word(page, WORD_NONE), page->out);
    json_array_foreach(teachers, i, one) {
        fputs(i > 0 ? ", " : "", page->out);
        page_text(page, text_of(one, "name"));
    }
}

/* put_unused - "609 073 of 724 520"; none: all is used, and provenance without a word of it is of such a run or an older one. */
static void put_unused(const struct page *page, const struct run_facts *run) {
    int64_t unused = count_of(run->provenance, "procedure/unused_tokens");
    if (unused <= 0) {
        fputs(page_word(page, WORD_NONE), page->out);
        return;
    }
    page_count(page, unused);
    fprintf(page->out, " %s ", page_word(page, WORD_OF));
    page_count(page, count_of(run->provenance, "procedure/data_tokens"));
}

/* put_device - "GPU (CUDA); Processes: 8, Machines: 2". */
static void put_device(const struct page *page, const struct run_facts *run) {
    const char *device = text_of(run->provenance, "site/device");
    if (device && strcmp(device, "cpu") == 0)
        device = page_word(page, WORD_DEVICE_CPU);
    else if (device && strcmp(device, "cuda") == 0)
        device = "GPU (CUDA)";
    page_text(page, device);
    fprintf(page->out, "; %s%s", page_word(page, WORD_RANKS), page_word(page, WORD_COLON));
    page_count(page, count_of(run->provenance, "site/ranks"));
    fprintf(page->out, ", %s%s", page_word(page, WORD_MACHINES), page_word(page, WORD_COLON));
    page_count(page, count_of(run->provenance, "site/hosts"));
}

/* put_site - a profile that stands for any machine of its kind is told in the page's language, one of a place by its
 * description. */
static void put_site(const struct page *page, const struct run_facts *run) {
    const char *name = text_of(run->provenance, "site/name"),
               *description = text_of(run->provenance, "site/description");
    if (name && strcmp(name, "local") == 0)
        description = page_word(page, WORD_SITE_LOCAL);
    else if (name && strcmp(name, "generic") == 0)
        description = page_word(page, WORD_SITE_SLURM);
    page_text(page, description ? description : name);
}

/* --- corpora --- */

static void put_share(const struct page *page, int64_t part, int64_t whole) {
    page_td_number(page);
    if (part >= 0 && whole > 0)
        put_decimal(page->out, 100 * (double)part / (double)whole, 1, marks_of(page->language));
    else
        page_number(page, NAN);
    page_td_end(page);
}

/* put_origin - an address is written out, not a link: the page leads nowhere by itself. */
static void put_corpus(const struct page *page, const json_t *corpus, int64_t all_tokens) {
    static const char *const texts[] = {"name", "licence", "url"};
    static const char *const counts[] = {"documents", "tokens", "tokens_consumed"};
    fputs("<tr>", page->out);
    for (int i = 0; i < 3; i++) {
        page_td(page);
        page_text(page, text_of(corpus, texts[i]));
        page_td_end(page);
    }
    for (int i = 0; i < 3; i++) {
        page_td_number(page);
        page_count(page, count_of(corpus, counts[i]));
        page_td_end(page);
    }
    put_share(page, count_of(corpus, "tokens_consumed"), all_tokens);
    fputs("<td class=\"hash\">", page->out);
    page_text(page, text_of(corpus, "sha256"));
    fputs("</td></tr>\n", page->out);
}

static void put_corpora(const struct page *page, const struct run_facts *run) {
    static const enum word COLUMNS[] = {WORD_CORPUS,        WORD_LICENCE,  WORD_ORIGIN, WORD_DOCUMENTS,
                                        WORD_CORPUS_TOKENS, WORD_CONSUMED, WORD_SHARE,  WORD_CORPUS_HASH};
    int64_t all_tokens = count_of(run->provenance, "progress/tokens"),
            others = count_of(run->provenance, "progress/tokens_not_attributed");
    size_t i;
    json_t *corpus;
    page_table(page, page_word(page, WORD_CORPUS));
    page_columns(page, COLUMNS, 8);
    json_array_foreach(json_find(run->provenance, "corpora"), i, corpus) {
        if (i == CORPORA_SHOWN)
            break;
        put_corpus(page, corpus, all_tokens);
    }
    if (others > 0) {
        fprintf(page->out, "<tr><td>%s</td><td></td><td></td><td></td><td></td><td class=\"number\">",
                page_word(page, WORD_NOT_ATTRIBUTED));
        page_count(page, others);
        page_td_end(page);
        put_share(page, others, all_tokens);
        fputs("<td></td></tr>\n", page->out);
    }
    page_table_end(page);
}

/* put_run - of one run: two columns, as texts are long. */
static void put_run(const struct page *page, const struct run_facts *run) {
    static const struct {
        enum word name;
        page_cell *put;
    } ROWS[] = {{WORD_PROGRAM, put_program},
                {WORD_PARAMETERS, put_parameters},
                {WORD_ADAPTER, put_adapter},
                {WORD_BASE, put_base},
                {WORD_BASE_LICENCE, put_base_licence},
                {WORD_BASE_HASH, put_base_hash},
                {WORD_TEACHER, put_teachers},
                {WORD_UNUSED, put_unused},
                {WORD_DEVICE, put_device},
                {WORD_SITE, put_site}};
    page_table(page, page_word(page, WORD_PROVENANCE));
    fputs("<tbody>\n", page->out);
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        fprintf(page->out, "<tr><th scope=\"row\">%s</th><td>", page_word(page, ROWS[i].name));
        ROWS[i].put(page, run);
        fputs("</td></tr>\n", page->out);
    }
    page_table_end(page);
    put_corpora(page, run);
}

void page_provenance(const struct page *page) {
    page_note(page, WORD_PROVENANCE_NOTE);
    for (int i = 0; i < page->num_runs; i++) {
        page_run_title(page, &page->runs[i]);
        if (page->runs[i].provenance)
            put_run(page, &page->runs[i]);
        else
            fprintf(page->out, "<p class=\"absent\">%s</p>\n", page_word(page, WORD_PROVENANCE_NONE));
    }
}
