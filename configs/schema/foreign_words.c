/* foreign_words.c - how a word of another program is found, and the commands of other programs.  See
 * foreign_words.h. */
#include "configs/schema/foreign_words.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* Commands that users of other programs and of Slurm know; the nearest of ours, with what it then needs. */
static const struct foreign_word COMMANDS[] = {
    {"run", "train", NULL},
    {"finetune", "train", NULL},
    {"fine_tune", "train", NULL},
    {"pretrain", "train", NULL},
    {"sft", "train", NULL},
    {"cpt", "train", NULL},
    {"preprocess", "prepare", NULL},
    {"tokenize", "prepare", NULL},
    {"data", "prepare", NULL},
    {"evaluate", "eval", NULL},
    {"perplexity", "eval", NULL},
    {"inference", "generate", NULL},
    {"infer", "generate", NULL},
    {"predict", "generate", NULL},
    {"convert", "export", NULL},
    {"quantize", "export", "with --to gguf --type q8_0"},
    {"merge", "export", NULL},
    {"info", "inspect", NULL},
    {"show", "inspect", NULL},
    {"validate", "inspect", "with --verify"},
    {"check", "doctor", NULL},
    {"launch", "submit", NULL},
    {"sbatch", "submit", NULL},
    {"cancel", "stop", NULL},
    {"kill", "stop", NULL},
    {"squeue", "status", NULL},
    {"queue", "status", NULL},
    {"estimate", "plan", NULL},
    {"version", NULL, "'atelier --version' prints it"},
};

/* is_word - text is the word of length letters, but for case, and '-' in place of '_'. */
static bool is_word(const char *text, const char *word, size_t length) {
    for (size_t i = 0; i < length; i++) {
        int letter = text[i] == '-' ? '_' : tolower((unsigned char)text[i]);
        if (letter != word[i])
            return false;
    }
    return text[length] == '\0';
}

/* has_word - text is one of the words, which stand between spaces. */
static bool has_word(const char *words, const char *text) {
    while (*words) {
        size_t length = strcspn(words, " ");
        if (is_word(text, words, length))
            return true;
        words += length + (words[length] == ' ');
    }
    return false;
}

static const struct foreign_word *find(const struct foreign_word *words, int count, const char *text) {
    for (int i = 0; i < count; i++)
        if (has_word(words[i].words, text))
            return &words[i];
    return NULL;
}

const struct foreign_word *foreign_key(const char *word) {
    int count;
    const struct foreign_word *words = foreign_keys(&count);
    return find(words, count, word);
}

const struct foreign_word *foreign_command(const char *word) {
    return find(COMMANDS, COUNT_OF(COMMANDS), word);
}
