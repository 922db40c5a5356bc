/* tokenizer_regex.h - regular expressions of tokenizer.json files, run by PCRE2.
 *
 * The files are written for Oniguruma.  The two languages agree on nearly everything that occurs; where they
 * do not
 * (\s, \w, \d, \b, \h, \v, scripts), the pattern is translated, and what cannot be translated is refused. */
#pragma once

#include "data/corpus/text.h"

struct regex;
struct regex_state; /* scratch of one thread */

/* regex_compile - a pattern, or with literal the text itself.  Returns NULL with err set: it does not
 * compile, uses something PCRE2 understands differently, or can match the empty string.  regex_free - NULL is fine. */
struct regex *regex_compile(const char *pattern, size_t length_bytes, bool literal, struct err *err);
void regex_free(struct regex *regex);

/* regex_state_create - with the work that is allowed for a short text.  regex_state_begin - allow anew what a
 * text of so many bytes may take: in proportion to its length, so that no pattern makes a document take for
 * ever.  What is counted are bytes looked at and steps back, not seconds: the same text always gets the same
 * answer. */
struct regex_state *regex_state_create(void);
void regex_state_begin(struct regex_state *state, size_t length_bytes);
void regex_state_free(struct regex_state *state);

/* regex_next - the first match in text (valid UTF-8) that starts at from or later.  Returns 1 with its span,
 * 0 for none, -1 with err set: what is left of the allowed work is too little (the pattern is named). */
int regex_next(const struct regex *regex, struct regex_state *state, struct text_span text, size_t from,
               struct text_span *match, struct err *err);
