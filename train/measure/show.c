/* show.c - samples chosen, read and written. */
#include "train/measure/show.h"

#include <stdlib.h>

#include "kernels/rng.h"

/* --- opening --- */

/* open_loader - of this file alone: sequences are cut and packed in each file by itself. */
static struct loader *open_loader(const char *path, const struct config *config, struct err *err) {
    const struct loader_file file = {path, 1};
    const struct loader_config wanted = {.files = &file,
                                         .num_files = 1,
                                         .sequence_tokens = config->data.sequence_tokens,
                                         .seed = config->run.seed,
                                         .packing = config->data.packing,
                                         .long_documents = config->data.long_documents};
    return loader_open(&wanted, err);
}

int show_open(struct show *show, const char *path, const struct tokenizer *tok, const struct config *config,
              struct err *err) {
    bool has_run = config && config->data.num_train > 0;
    *show = (struct show){.tok = tok, .config = has_run ? config : NULL};
    if (has_run)
        show->loader = open_loader(path, config, err);
    else
        show->own = token_file_open(path, err);
    if (!show->loader && !show->own)
        return -1;
    show->file = has_run ? loader_token_file(show->loader, 0) : show->own;
    show->places = token_places_open(show->file, err);
    int64_t unit_documents = token_file_preference(show->file) == PREFERENCE_NONE ? 1 : 2;
    show->num_samples = has_run ? loader_epoch_samples(show->loader, 0)
                                : token_file_num_documents(show->file) / unit_documents;
    if (strcmp(token_file_tokenizer_hash(show->file), tokenizer_hash(tok)) == 0)
        return 0;
    return err_set(
        err,
        "'%s' was made by another tokenizer (%.12s; this one is %.12s): its ids would be shown as other "
        "text; name the one that it was prepared with",
        path, token_file_tokenizer_hash(show->file), tokenizer_hash(tok));
}

void show_close(struct show *show) {
    token_places_close(show->places);
    loader_close(show->loader);
    token_file_close(show->own);
    *show = (struct show){.file = NULL};
}

/* --- choosing --- */

static bool is_among(const int64_t *numbers, int64_t count, int64_t number) {
    for (int64_t i = 0; i < count; i++)
        if (numbers[i] == number)
            return true;
    return false;
}

/* Floyd's way: every set of numbers is as likely, and nothing of the size of total is needed (Bentley and Floyd, "A sample of
 * brilliance", CACM 30, 1987). */
int64_t *show_choose(int64_t total, int64_t wanted, uint64_t seed, int64_t *count) {
    int64_t *numbers = xmalloc((size_t)(wanted < total ? wanted : total) * sizeof *numbers + 1);
    *count = wanted < total ? wanted : total;
    for (int64_t i = 0; i < *count; i++) {
        int64_t last = total - *count + i;
        int64_t number = (int64_t)rng_below(seed, rng_stream(RNG_SHOW, 0), (uint64_t)i, (uint64_t)last + 1);
        numbers[i] = wanted >= total ? i : is_among(numbers, i, number) ? last : number;
    }
    return numbers;
}

/* pieces_of - of sample number `sample`; malloc'ed, their number is returned. */
static int64_t pieces_of(const struct show *show, int64_t sample, struct sample_piece **pieces,
                         struct err *err) {
    if (show->loader)
        return loader_pieces(show->loader, sample, pieces, err);
    int64_t count = token_file_preference(show->file) == PREFERENCE_NONE ? 1 : 2;
    const uint64_t *offsets = token_file_offsets(show->file) + sample * count;
    *pieces = xcalloc((size_t)count, sizeof **pieces);
    for (int64_t i = 0; i < count; i++)
        (*pieces)[i] = (struct sample_piece){.document = sample * count + i,
                                             .count = (int64_t)(offsets[i + 1] - offsets[i])};
    return count;
}

/* What is shown of one sample. */
struct shown_sample {
    int64_t number;
    struct learnt_piece *pieces;
    int64_t num_pieces, num_tokens, num_learnt;
};

static void release_sample(struct shown_sample *sample) {
    for (int64_t i = 0; i < sample->num_pieces; i++)
        learnt_piece_release(&sample->pieces[i]);
    free(sample->pieces);
}

static int read_sample(const struct show *show, int64_t number, struct shown_sample *sample,
                       struct err *err) {
    struct sample_piece *pieces = NULL;
    int64_t count = pieces_of(show, number, &pieces, err);
    int status = count < 0 ? -1 : 0;
    *sample = (struct shown_sample){.number = number};
    sample->pieces = xcalloc((size_t)(count > 0 ? count : 0) + 1, sizeof *sample->pieces);
    for (int64_t i = 0; i < count && status == 0; i++) {
        struct learnt_piece *piece = &sample->pieces[sample->num_pieces++];
        status = learnt_piece_read(show->file, &pieces[i], piece, err);
        sample->num_tokens += piece->piece.count;
        sample->num_learnt += piece->num_learnt;
    }
    free(pieces);
    return status;
}

/* --- as text --- */

static const char *side_text(enum token_side side) {
    static const char *const names[] = {
        [SIDE_PLAIN] = "",
        [SIDE_CHOSEN] = ", chosen",
        [SIDE_REJECTED] = ", rejected",
        [SIDE_DESIRABLE] = ", desirable",
        [SIDE_UNDESIRABLE] = ", undesirable",
        [SIDE_MISMATCHED] = ", with the completion of another document",
    };
    return names[side];
}

static const struct token_source *source_of(const struct show *show, const struct learnt_piece *piece) {
    return token_file_source(show->file, token_file_document_source(show->file, piece->piece.document));
}

/* print_lines - each with what tells it from the lines of the program, whatever the text says. */
static void print_lines(FILE *out, const struct text *text) {
    const char *at = text->bytes, *end = at + text->length_bytes;
    do {
        const char *line_end = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        size_t length = (size_t)((line_end ? line_end : end) - at);
        fprintf(out, "  | %.*s\n", (int)length, at);
        at += length + 1;
    } while (at < end);
}

/* print_ids - what is learnt between brackets, a run at a time. */
static void print_ids(FILE *out, const struct learnt_piece *piece) {
    fputs("  ids", out);
    for (int64_t i = 0; i < piece->num_ids; i++) {
        bool begins = piece->learnt[i] && (i == 0 || !piece->learnt[i - 1]);
        bool ends = piece->learnt[i] && (i + 1 == piece->num_ids || !piece->learnt[i + 1]);
        fprintf(out, " %s%d%s", begins ? "⟦" : "", piece->ids[i], ends ? "⟧" : "");
    }
    fputc('\n', out);
}

/* print_next - where the document goes on in another sample, what the last token has as target. */
static void print_next(FILE *out, const struct show *show, const struct learnt_piece *piece,
                       enum token_marks marks) {
    struct text text = {0};
    int64_t last = piece->piece.count;
    if (piece->num_ids == last)
        return;
    token_text_append(&text, show->tok, &piece->ids[last], &piece->learnt[last], 1, marks);
    fputs(piece->learnt[last] ? "  learnt too, as what follows the last token above:\n"
                              : "  cut here; what follows the last token above is not learnt:\n",
          out);
    print_lines(out, &text);
    text_release(&text);
}

/* print_place - where the document was read, in the line below its own. */
static void print_place(FILE *out, const struct show *show, int64_t document) {
    char *place = token_places_text(show->places, document);
    struct text text = {0};
    if (place)
        token_text_append_visible(&text, place, strlen(place));
    fprintf(out, "  read from %.*s\n", place ? (int)text.length_bytes : INT32_MAX,
            place ? text.bytes : "a place that is not known: the token file does not say it");
    text_release(&text);
    free(place);
}

static void print_piece(FILE *out, const struct show *show, const struct learnt_piece *piece,
                        enum token_marks marks) {
    const struct sample_piece *where = &piece->piece;
    const char *name = source_of(show, piece)->name;
    struct text text = {0};
    token_text_append_visible(&text, name, strlen(name));
    fprintf(out, "  document %lld of '%.*s'%s", (long long)where->document, (int)text.length_bytes,
            text.bytes, side_text(token_file_side(show->file, where->document)));
    if (where->count < piece->document_tokens)
        fprintf(out, ", tokens %lld to %lld of %lld", (long long)where->first,
                (long long)(where->first + where->count - 1), (long long)piece->document_tokens);
    fprintf(out, ": %lld tokens, %lld learnt\n", (long long)where->count, (long long)piece->num_learnt);
    print_place(out, show, where->document);
    text.length_bytes = 0;
    token_text_append(&text, show->tok, piece->ids, piece->learnt, where->count, marks);
    print_lines(out, &text);
    print_next(out, show, piece, marks);
    text_release(&text);
}

static void print_head(FILE *out, const struct show *show, const struct show_request *request,
                       enum token_marks marks) {
    int64_t total = show->num_samples, wanted = request->num_samples;
    const char *unit = token_file_preference(show->file) == PREFERENCE_NONE ? "documents" : "pairs";
    fprintf(out, "%lld of %lld %s, by seed %lld", (long long)(wanted < total ? wanted : total),
            (long long)total, show->loader ? "sequences" : unit, (long long)request->seed);
    if (show->loader)
        fprintf(out, "; sequences of %lld tokens, cut and packed as the run does (data.packing: %s)",
                (long long)show->config->data.sequence_tokens,
                loader_packing(show->loader, 0) == PACKING_WHOLE ? "whole" : "stream");
    fprintf(out,
            "\n%s; ⟨special token⟩, ⟨byte or character that is not shown as itself⟩; ↵ end of line, ⇥ tab\n",
            marks == MARKS_COLOUR ? "learnt tokens in green" : "⟦learnt tokens⟧");
}

/* each_sample - the samples that the request means, one after another. */
typedef void sample_visit(const struct show *show, const struct shown_sample *sample, void *user);

static int each_sample(const struct show *show, const struct show_request *request, sample_visit *visit,
                       void *user, struct err *err) {
    int64_t count = 0;
    int64_t *chosen = show_choose(show->num_samples, request->num_samples, (uint64_t)request->seed, &count);
    int status = 0;
    for (int64_t i = 0; i < count && status == 0; i++) {
        struct shown_sample sample;
        status = read_sample(show, chosen[i], &sample, err);
        if (status == 0)
            visit(show, &sample, user);
        release_sample(&sample);
    }
    free(chosen);
    return status;
}

/* Where and how samples are printed. */
struct printer {
    FILE *out;
    enum token_marks marks;
    bool has_ids;
};

static void print_sample(const struct show *show, const struct shown_sample *sample, void *user) {
    const struct printer *printer = user;
    FILE *out = printer->out;
    int64_t room = show->loader ? show->config->data.sequence_tokens : sample->num_tokens;
    fprintf(out, "\n%s %lld: %lld tokens", show->loader ? "sequence" : "sample", (long long)sample->number,
            (long long)sample->num_tokens);
    if (sample->num_tokens < room)
        fprintf(out, " of %lld, the rest is padding", (long long)room);
    fprintf(out, "; %lld learnt\n", (long long)sample->num_learnt);
    for (int64_t p = 0; p < sample->num_pieces; p++) {
        print_piece(out, show, &sample->pieces[p], printer->marks);
        if (printer->has_ids)
            print_ids(out, &sample->pieces[p]);
    }
}

int show_print(FILE *out, const struct show *show, const struct show_request *request, enum token_marks marks,
               struct err *err) {
    struct printer printer = {out, marks, request->has_ids};
    print_head(out, show, request, marks);
    return each_sample(show, request, print_sample, &printer, err);
}

/* --- as JSON --- */

/* piece_json - the text with brackets, whatever the terminal. */
static json_t *piece_json(const struct show *show, const struct learnt_piece *piece) {
    json_t *ids = json_array(), *learnt = json_array();
    const char *name = source_of(show, piece)->name;
    struct text text = {0}, source = {0}, place = {0};
    for (int64_t i = 0; i < piece->num_ids; i++) {
        json_array_append_new(ids, json_integer(piece->ids[i]));
        json_array_append_new(learnt, json_integer(piece->learnt[i] != 0));
    }
    token_text_append(&text, show->tok, piece->ids, piece->learnt, piece->piece.count, MARKS_BRACKETS);
    token_text_append_visible(&source, name, strlen(name));
    char *read_from = token_places_text(show->places, piece->piece.document);
    if (read_from)
        token_text_append_visible(&place, read_from, strlen(read_from));
    json_t *object = json_pack(
        "{s:I, s:s%, s:I, s:I, s:b, s:o, s:o, s:s%}", "document", (json_int_t)piece->piece.document, "source",
        source.bytes ? source.bytes : "", source.length_bytes, "first_token", (json_int_t)piece->piece.first,
        "tokens", (json_int_t)piece->piece.count, "goes_on", piece->num_ids > piece->piece.count, "ids", ids,
        "learnt", learnt, "text", text.bytes ? text.bytes : "", text.length_bytes);
    CHECK(object, "out of memory, or a text that is not UTF-8");
    json_object_set_new(object, "read_from",
                        read_from ? json_stringn(place.bytes, place.length_bytes) : json_null());
    free(read_from);
    text_release(&place);
    text_release(&text);
    text_release(&source);
    return object;
}

static void add_json(const struct show *show, const struct shown_sample *sample, void *user) {
    json_t *pieces = json_array();
    for (int64_t p = 0; p < sample->num_pieces; p++)
        json_array_append_new(pieces, piece_json(show, &sample->pieces[p]));
    json_t *object = json_pack("{s:I, s:I, s:I, s:o}", "number", (json_int_t)sample->number, "tokens",
                               (json_int_t)sample->num_tokens, "learnt", (json_int_t)sample->num_learnt,
                               "documents", pieces);
    CHECK(object && json_array_append_new(user, object) == 0, "out of memory");
}

json_t *show_json(const struct show *show, const struct show_request *request, struct err *err) {
    json_t *samples = json_array();
    if (each_sample(show, request, add_json, samples, err) == 0)
        return samples;
    json_decref(samples);
    return NULL;
}
