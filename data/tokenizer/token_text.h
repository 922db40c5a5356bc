/* token_text.h - tokens as a person reads them on a terminal: which of them are learnt, special ones by their names, and no
 * byte that could move a cursor.
 *
 *   ⟦learnt⟧        a run of tokens that are learnt, or in colour
 *   ⟨<|im_end|>⟩    a special token; the same words in a text stand without the brackets
 *   ⟨0x1B⟩ ⟨U+202E⟩ a byte that is part of no character here, or a control; a character that is not drawn or turns the
 *                   direction; one of the marks of this list where it stands in the text
 *   ↵ ⇥             the end of a line, before the line's end; a tab
 */
#pragma once

#include "data/tokenizer/tokenizer.h"

enum token_marks { MARKS_BRACKETS, MARKS_COLOUR };

/* token_text_append - [count] ids below the vocabulary's size, learnt[i] != 0 where id i is.  Bytes of a character are put
 * together over the tokens of a run. */
void token_text_append(struct text *out, const struct tokenizer *tok, const int32_t *ids,
                       const uint8_t *learnt, int64_t count, enum token_marks marks);

/* token_text_append_visible - any bytes, a file's name for example, on one line. */
void token_text_append_visible(struct text *out, const char *bytes, size_t length_bytes);
