/* long_text.h - what a run never uses of documents that are longer than a sequence, said the same by plan, submit and train. */
#pragma once

#include "configs/schema/config.h"
#include "data/tokens/loader.h"

/* long_text - the line for one file into the caller's buffer of LONG_TEXT_ROOM bytes; "" where nothing is to be said.  Of
 * documents that are packed whole, what is cut or skipped is never learnt: that is told always.  Where they go on in the next
 * sequence only conversations are worth a word, since their later turns lose what they answer. */
enum { LONG_TEXT_ROOM = 900 };
const char *long_text(const struct config *config, const struct long_documents *facts, char *text);
