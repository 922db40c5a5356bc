/* card.h - the model card: README.md as the Hugging Face Hub wants it, written from provenance.json alone.
 *
 * What is known is stated; what only the author can know is left as a marked blank, never guessed.  Names,
 * licences and addresses come from users' files: they are escaped for YAML and Markdown. */
#pragma once

#include "data/corpus/json.h"

enum card_language { CARD_ENGLISH, CARD_FRENCH };

/* card_text - the whole card, malloc'ed.  provenance as provenance_load checks it; members that are missing
 * or of another type are said to be unknown. */
char *card_text(const json_t *provenance, enum card_language language);
