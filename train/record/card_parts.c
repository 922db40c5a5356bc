/* card_parts.c - values that may be missing, and lines. */
#include "train/record/card_parts.h"

#include <math.h>

/* These three never fail: a provenance of another version lacks members, and the card then says that it does not
 * know. */
const char *card_text_of(const json_t *object, const char *key) {
    const char *text;
    return json_get_string(object, key, &text, NULL) == 0 && text[0] ? text : NULL;
}

int64_t card_int_of(const json_t *object, const char *key) {
    int64_t value;
    return json_get_int(object, key, &value, NULL) == 0 ? value : 0;
}

double card_real_of(const json_t *object, const char *key) {
    double value;
    return json_get_double(object, key, &value, NULL) == 0 ? value : NAN;
}

void card_put(const struct card *card, const char *text) {
    fputs(text, card->out);
}

void card_begin_item(const struct card *card, const char *name) {
    fprintf(card->out, "- %s%s", name, card->words->colon);
}

void card_text_item(const struct card *card, const char *name, const char *text) {
    card_begin_item(card, name);
    if (text)
        put_markdown(card->out, text);
    else
        card_put(card, card->words->unknown);
    card_put(card, "\n");
}

void card_count_item(const struct card *card, const char *name, int64_t value) {
    card_begin_item(card, name);
    put_count(card->out, value, card->words->thousands);
    card_put(card, "\n");
}

void card_blank(const struct card *card, const char *what) {
    fprintf(card->out, "%s%s\n\n", card->words->blank, what);
}

void card_title(const struct card *card, const char *text) {
    fprintf(card->out, "\n## %s\n\n", text);
}

void card_number(const struct card *card, double value) {
    if (isfinite(value))
        put_real(card->out, value, card->words->decimal);
    else
        card_put(card, card->words->unknown);
}
