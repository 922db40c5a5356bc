/* xml_record.c - one pass over the events of a document; each field that is open takes the characters for itself. */
#include "data/corpus/xml_record.h"

#include <stdio.h>
#include <stdlib.h>

#include "data/corpus/json_line.h"
#include "data/corpus/xml.h"
#include "data/corpus/xml_path.h"
#include "data/corpus/xml_period.h"
#include "data/corpus/xml_roots.h"
#include "data/corpus/xml_text.h"

enum { MAX_DEPTH = 256 }; /* libxml2 reads no deeper */

/* A field that is looked for, and what was found of it. */
struct capture {
    const char *name; /* borrowed */
    struct xml_path *path;
    enum xml_several several;
    struct xml_text text;
    int depth;     /* of its element, 0 where that is not open */
    int left_out;  /* of an element inside of it that is passed over, 0: none */
    int num_found; /* places */
    /* of titles that have periods: */
    struct xml_period period; /* of the one that was taken last */
    int level;                /* its depth, as long as the element around it is open */
    size_t level_start;       /* of the text before it */
};

/* A document that is read. */
struct document {
    struct xml *xml;
    const struct prepare_source *source;
    const struct xml_root *root; /* NULL: not known */
    const char *names[MAX_DEPTH + 1];
    int depth; /* of elements that are open, the root included */
    struct capture *captures;
    int num_captures, num_named; /* the root's own come first */
    struct text scratch;
    char wrong_day[64],
        wrong_title[64]; /* a day that is not one, of titles beside each other, and their field; else empty */
};

/* --- what is looked for --- */

/* look_for - a field, unless one of its name is looked for already: a root's own name is not a path as well. */
static int look_for(struct document *document, struct xml_named_field field, struct err *err) {
    if (strcmp(field.name, XML_ROOT_FIELD) == 0)
        return 0;
    for (int i = 0; i < document->num_captures; i++)
        if (strcmp(document->captures[i].name, field.name) == 0)
            return 0;
    struct xml_path *path = xml_path_create(field.path, err);
    if (!path)
        return -1;
    document->captures =
        xrealloc(document->captures, (size_t)(document->num_captures + 1) * sizeof *document->captures);
    document->captures[document->num_captures++] =
        (struct capture){.name = field.name, .path = path, .several = field.several};
    return 0;
}

static int look_for_path(struct document *document, const char *path, struct err *err) {
    return look_for(document, (struct xml_named_field){path, path, XML_PARTS}, err);
}

/* look_for_asked - what the source asks for. */
static int look_for_asked(struct document *document, struct err *err) {
    const struct prepare_source *source = document->source;
    if (source->field && look_for_path(document, source->field, err) != 0)
        return -1;
    for (int i = 0; i < source->num_fields; i++)
        if (look_for_path(document, source->fields[i].text, err) != 0)
            return -1;
    for (int i = 0; i < source->num_filters; i++)
        if (look_for_path(document, source->where[i].field, err) != 0)
            return -1;
    return 0;
}

/* start - at the root, which decides what there is to look for. */
static int start(struct document *document, struct err *err) {
    const struct xml_root *root;
    for (int r = 0; !document->root && (root = xml_root_of(r)) != NULL; r++)
        if (strcmp(root->name, document->names[0]) == 0)
            document->root = root;
    for (const struct xml_named_field *at = document->root ? document->root->fields : NULL; at && at->name;
         at++)
        if (look_for(document, *at, err) != 0)
            return -1;
    document->num_named = document->num_captures;
    return look_for_asked(document, err);
}

static void release(struct document *document) {
    for (int i = 0; i < document->num_captures; i++) {
        xml_path_free(document->captures[i].path);
        text_release(&document->captures[i].text.out);
    }
    free(document->captures);
    text_release(&document->scratch);
    xml_close(document->xml);
}

int xml_record_check(const struct prepare_source *source, struct err *err) {
    struct document nothing = {.source = source};
    int status = look_for_asked(&nothing, err);
    release(&nothing);
    return status;
}

/* --- what is found --- */

static bool is_left_out(const struct document *document, const char *name) {
    for (const char *const *at = document->root ? document->root->left_out : NULL; at && *at; at++)
        if (strcmp(*at, name) == 0)
            return true;
    return false;
}

/* period_of - of the title that opens, as the document's end sees it. */
static struct xml_period period_of(const struct document *document) {
    struct text days = {0};
    struct text_span end = {XML_NO_END, strlen(XML_NO_END)};
    for (int i = 0; i < document->num_named && document->root->end; i++) {
        const struct text *found = &document->captures[i].text.out;
        if (found->length_bytes > 0 && strcmp(document->captures[i].name, document->root->end) == 0)
            end = (struct text_span){found->bytes, found->length_bytes};
    }
    text_reserve(&days, 2 * sizeof XML_NO_END);
    (void)xml_attribute(document->xml, XML_FROM, &days);
    size_t length = days.length_bytes;
    (void)xml_attribute(document->xml, XML_TO, &days);
    struct xml_period period =
        xml_period_of((struct text_span){days.bytes, length},
                      (struct text_span){days.bytes + length, days.length_bytes - length}, end);
    text_release(&days);
    return period;
}

/* note_wrong_day - of two titles beside each other the days decide; of one alone they are not asked. */
static void note_wrong_day(struct document *document, const struct capture *capture,
                           const struct xml_period *period) {
    const char *wrong = period->wrong[0] ? period->wrong : capture->period.wrong;
    if (!wrong[0] || document->wrong_day[0])
        return;
    snprintf(document->wrong_day, sizeof document->wrong_day, "%s", wrong);
    snprintf(document->wrong_title, sizeof document->wrong_title, "%s", capture->name);
}

/* begin_title - a title with a period: in the place of the one beside it, or after that of the level above.  Returns false where
 * the one beside it stays. */
static bool begin_title(struct document *document, struct capture *capture) {
    bool is_beside =
        capture->several == XML_IN_FORCE ? capture->num_found > 0 : capture->level == document->depth;
    struct xml_period period = period_of(document);
    if (is_beside)
        note_wrong_day(document, capture, &period);
    if (is_beside && xml_period_is_before(&period, &capture->period))
        return false;
    capture->period = period;
    capture->level = document->depth;
    if (is_beside)
        capture->text.out.length_bytes = capture->level_start;
    else
        capture->level_start = capture->text.out.length_bytes;
    xml_text_join(&capture->text, " > ");
    return true;
}

/* begin_place - another place of a field.  Returns false where the text of an earlier one stays. */
static bool begin_place(struct document *document, struct capture *capture) {
    if (capture->several == XML_IN_FORCE || capture->several == XML_CHAIN) {
        if (!begin_title(document, capture))
            return false;
    } else if (capture->several == XML_LAST)
        xml_text_clear(&capture->text);
    else
        xml_text_part(&capture->text);
    capture->num_found++;
    return true;
}

/* open_in - an element opens: a part of a field that is open, or the place of one. */
static void open_in(struct document *document, struct capture *capture) {
    const char *name = document->names[document->depth - 1], *attribute;
    if (capture->depth > 0) {
        if (capture->left_out == 0 && is_left_out(document, name))
            capture->left_out = document->depth;
        if (capture->left_out == 0)
            xml_text_open(&capture->text, name);
        return;
    }
    if (!xml_path_matches(capture->path, document->names + 1, document->depth - 1, &attribute))
        return;
    if (!attribute) {
        if (begin_place(document, capture))
            capture->depth = document->depth;
        return;
    }
    document->scratch.length_bytes = 0;
    if (!xml_attribute(document->xml, attribute, &document->scratch))
        return;
    if (begin_place(document, capture))
        xml_text_add(&capture->text,
                     (struct text_span){document->scratch.bytes, document->scratch.length_bytes});
}

static void close_in(const struct document *document, struct capture *capture) {
    if (capture->depth == document->depth)
        capture->depth = 0;
    else if (capture->depth > 0 && capture->left_out == 0)
        xml_text_close(&capture->text, document->names[document->depth - 1]);
    if (capture->left_out == document->depth)
        capture->left_out = 0;
    if (document->depth < capture->level)
        capture->level = 0;
}

/* take - an event.  Returns 0, or -1 with err set. */
static int take(struct document *document, enum xml_event event, struct err *err) {
    if (event == XML_EVENT_OPEN) {
        CHECK(document->depth <= MAX_DEPTH, "libxml2 reads deeper than it says");
        document->names[document->depth++] = xml_name(document->xml);
        if (document->depth == 1 && start(document, err) != 0)
            return -1;
    }
    for (int i = 0; i < document->num_captures; i++) {
        struct capture *capture = &document->captures[i];
        if (event == XML_EVENT_OPEN)
            open_in(document, capture);
        else if (event == XML_EVENT_CLOSE)
            close_in(document, capture);
        else if (capture->depth > 0 && capture->left_out == 0)
            xml_text_add(&capture->text, xml_text(document->xml));
    }
    document->depth -= event == XML_EVENT_CLOSE;
    return 0;
}

/* write_field - "name":"text". */
static void write_field(struct text *out, const char *name, struct text_span value) {
    bool is_first = out->bytes[out->length_bytes - 1] == '{';
    text_append(out, is_first ? "\"" : ",\"", is_first ? 1 : 2);
    json_line_escape(out, name, strlen(name));
    text_append(out, "\":\"", 3);
    if (value.length_bytes > 0)
        json_line_escape(out, value.bytes, value.length_bytes);
    text_append(out, "\"", 1);
}

/* nothing_known - neither a field of this root nor one that the source names is there, and no filter that could leave it out. */
static int nothing_known(const char *root, struct err *err) {
    return err_set(
        err,
        "the root element '%.80s' is none whose fields are known (Publication, ARTICLE), and none of the source's "
        "fields is in it: where the file holds many records, name the element that is one, as in element: ARTICLE; else name "
        "its texts by their paths below the root, as in fields: [META/TITRE, CORPS], or leave such files out by "
        "where: {" XML_ROOT_FIELD ": ARTICLE}",
        root);
}

/* write_record - the fields; those of a known root are there also where the document lacks them. */
static int write_record(const struct document *document, struct text *out, struct err *err) {
    int num_found = 0;
    if (document->wrong_day[0])
        return err_set(
            err,
            "of several titles ('%s') one is in force on a day that is not one, '%s' (" XML_FROM ", " XML_TO
            " or %s; a day is written 2010-05-08): which of them belongs to the document cannot be told",
            document->wrong_title, document->wrong_day, document->root->end);
    for (int i = 0; i < document->num_captures; i++)
        num_found += document->captures[i].num_found > 0;
    if (!document->root && num_found == 0 && document->source->num_filters == 0)
        return nothing_known(document->names[0], err);
    text_append(out, "{", 1);
    write_field(out, XML_ROOT_FIELD, (struct text_span){document->names[0], strlen(document->names[0])});
    for (int i = 0; i < document->num_captures; i++) {
        const struct capture *capture = &document->captures[i];
        const struct text *text = &capture->text.out;
        if (capture->num_found > 0 || i < document->num_named)
            write_field(out, capture->name, (struct text_span){text->bytes, text->length_bytes});
    }
    text_append(out, "}", 1);
    return 0;
}

int xml_record_append(const struct prepare_source *source, struct text_span bytes, struct text *out,
                      struct err *err) {
    struct document document = {.xml = xml_open(bytes), .source = source};
    enum xml_event event;
    int status = 0;
    while (status == 0 && (event = xml_next(document.xml, err)) != XML_EVENT_END)
        status = event == XML_EVENT_FAULT ? -1 : take(&document, event, err);
    if (status == 0)
        status = write_record(&document, out, err);
    release(&document);
    return status;
}
