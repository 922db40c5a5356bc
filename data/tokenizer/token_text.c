/* token_text.c - see token_text.h. */
#include "data/tokenizer/token_text.h"

#include <stdio.h>
#include <utf8proc.h>

static const char LEARNT_BEGINS[] = "⟦", LEARNT_ENDS[] = "⟧", NAME_BEGINS[] = "⟨", NAME_ENDS[] = "⟩";
/* Green, and the terminal's own colour again (ECMA-48, select graphic rendition). */
static const char COLOUR_BEGINS[] = "\033[32m", COLOUR_ENDS[] = "\033[0m";

enum {
    CHAR_RETURN_MARK = 0x21B5, /* ↵ */
    CHAR_TAB_MARK = 0x21E5     /* ⇥ */
};

/* What is being written, and the bytes of a run that wait for the end of their character. */
struct token_line {
    struct text *out;
    enum token_marks marks;
    bool is_learnt; /* of the run */
    bool keeps_lines;
    struct text waiting;
};

static void append_string(struct text *out, const char *text) {
    text_append(out, text, strlen(text));
}

static void append_code(struct text *out, const char *format, unsigned code) {
    char code_text[16];
    snprintf(code_text, sizeof code_text, format, code);
    append_string(out, NAME_BEGINS);
    append_string(out, code_text);
    append_string(out, NAME_ENDS);
}

/* is_mark - one of those by which this file says something. */
static bool is_mark(uint32_t c) {
    return c == 0x27E6 || c == 0x27E7 || c == 0x27E8 || c == 0x27E9 || c == CHAR_RETURN_MARK ||
           c == CHAR_TAB_MARK;
}

/* is_unseen - controls, formats (joiners, direction, byte order marks), separators of lines. */
static bool is_unseen(uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return true;
    default:
        return false;
    }
}

static void begin_run(struct token_line *line) {
    if (line->is_learnt)
        append_string(line->out, line->marks == MARKS_COLOUR ? COLOUR_BEGINS : LEARNT_BEGINS);
}

static void end_run(struct token_line *line) {
    if (line->is_learnt)
        append_string(line->out, line->marks == MARKS_COLOUR ? COLOUR_ENDS : LEARNT_ENDS);
}

/* end_line - in colour a line ends in the terminal's own: what is put before the next one is not of the text. */
static void end_line(struct token_line *line) {
    bool is_coloured = line->is_learnt && line->marks == MARKS_COLOUR;
    text_append_char(line->out, CHAR_RETURN_MARK);
    if (!line->keeps_lines)
        return;
    if (is_coloured)
        append_string(line->out, COLOUR_ENDS);
    append_string(line->out, "\n");
    if (is_coloured)
        append_string(line->out, COLOUR_BEGINS);
}

static void append_character(struct token_line *line, uint32_t c) {
    if (c == '\n')
        end_line(line);
    else if (c == '\t')
        text_append_char(line->out, CHAR_TAB_MARK);
    else if (c < 0x20 || c == 0x7F)
        append_code(line->out, "0x%02X", c);
    else if (is_mark(c) || is_unseen(c))
        append_code(line->out, "U+%04X", c);
    else
        text_append_char(line->out, c);
}

/* append_waiting - what waits, whole or not. */
static void append_waiting(struct token_line *line) {
    const char *at = line->waiting.bytes, *end = at + line->waiting.length_bytes;
    while (at < end) {
        const char *valid_end = at + text_valid_bytes(at, (size_t)(end - at));
        while (at < valid_end)
            append_character(line, text_next_char(&at));
        if (at < end)
            append_code(line->out, "0x%02X", (unsigned char)*at++);
    }
    line->waiting.length_bytes = 0;
}

/* append_token - of a special one the name; an id that stands for nothing by its number. */
static void append_token(struct token_line *line, const struct tokenizer *tok, int32_t id) {
    struct token_entry entry = tokenizer_entry(tok, id);
    if (entry.text && entry.kind != TOKEN_CONTROL && entry.kind != TOKEN_UNKNOWN) {
        tokenizer_append_token(tok, id, &line->waiting);
        return;
    }
    append_waiting(line);
    if (!entry.text) {
        append_code(line->out, "%u", (unsigned)id);
        return;
    }
    append_string(line->out, NAME_BEGINS);
    token_text_append_visible(line->out, entry.text, entry.length_bytes);
    append_string(line->out, NAME_ENDS);
}

void token_text_append(struct text *out, const struct tokenizer *tok, const int32_t *ids,
                       const uint8_t *learnt, int64_t count, enum token_marks marks) {
    struct token_line line = {.out = out, .marks = marks, .keeps_lines = true};
    for (int64_t i = 0; i < count; i++) {
        bool is_learnt = learnt[i] != 0;
        if (i == 0 || is_learnt != line.is_learnt) {
            append_waiting(&line);
            end_run(&line);
            line.is_learnt = is_learnt;
            begin_run(&line);
        }
        append_token(&line, tok, ids[i]);
    }
    append_waiting(&line);
    end_run(&line);
    text_release(&line.waiting);
}

void token_text_append_visible(struct text *out, const char *bytes, size_t length_bytes) {
    struct token_line line = {.out = out};
    text_append(&line.waiting, bytes, length_bytes);
    append_waiting(&line);
    text_release(&line.waiting);
}
