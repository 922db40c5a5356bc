/* foreign_words.h - what users of other training programs type (axolotl, transformers and TRL, LLaMA-Factory,
 * torchtune), and how it is said here.  Data for messages alone: no such word is obeyed. */
#pragma once

struct foreign_word {
    const char
        *words; /* one, or several that mean the same, between spaces; lower case, with '_'; with a section
                          where they mean something only there */
    const char *here; /* a key of a run file, or a command; NULL: there is none of the same meaning */
    const char *note; /* a sentence; NULL: it means the same */
};

/* foreign_key - of the last word of a key, or of a whole one ("optimizer.type"), in any case, with '-' or '_'; NULL:
 * not known.  foreign_command -
 * the same for commands. */
const struct foreign_word *foreign_key(const char *word);
const struct foreign_word *foreign_command(const char *word);

/* foreign_keys - the whole table of keys, for tests. */
const struct foreign_word *foreign_keys(int *count);
