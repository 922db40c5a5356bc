/* tokenizer_added.c - added tokens: read, sorted, and found in a text, the longest first. */
#include "data/tokenizer/tokenizer_added.h"

#include <stdlib.h>

#include "data/corpus/json.h"

/* Longer than any in use; bounds the time spent at each position of a text. */
enum { MAX_CONTENT_BYTES = 1024 };

/* parse_token - the defaults are the reference's; a special token is looked for in the text as it was given. */
static int parse_token(struct added_token *token, const json_t *json, struct err *err) {
    const char *content;
    int64_t id;
    if (json_get_text(json, "content", &content, &token->content_bytes, err) != 0 ||
        json_get_int(json, "id", &id, err) != 0 ||
        json_get_bool_or(json, "special", false, &token->special, err) != 0 ||
        json_get_bool_or(json, "single_word", false, &token->single_word, err) != 0 ||
        json_get_bool_or(json, "lstrip", false, &token->strips_left, err) != 0 ||
        json_get_bool_or(json, "rstrip", false, &token->strips_right, err) != 0 ||
        json_get_bool_or(json, "normalized", !token->special, &token->normalised, err) != 0)
        return -1;
    if (id < 0 || id >= VOCAB_MAX_IDS)
        return err_set(err, "added token '%.64s' has id %lld, outside [0, %d)", content, (long long)id,
                       VOCAB_MAX_IDS);
    if (token->content_bytes > MAX_CONTENT_BYTES)
        return err_set(err, "added token '%.64s' is longer than %d bytes", content, MAX_CONTENT_BYTES);
    token->id = (int32_t)id;
    token->content = text_copy(content, token->content_bytes);
    return 0;
}

static int compare_bytes(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static int by_content(const void *a, const void *b) {
    const struct added_token *x = a, *y = b;
    return compare_bytes(x->content, x->content_bytes, y->content, y->content_bytes);
}

static int by_match(const void *a, const void *b) {
    const struct added_token *x = *(const struct added_token *const *)a,
                             *y = *(const struct added_token *const *)b;
    return compare_bytes(x->match, x->match_bytes, y->match, y->match_bytes);
}

/* Sorted by content, which is how they are found; a content that comes twice would have two ids. */
int added_parse(struct added_tokens *added, const json_t *json, struct err *err) {
    *added = (struct added_tokens){0};
    if (!json || json_is_null(json))
        return 0;
    if (!json_is_array(json))
        return err_set(err, "'added_tokens' is %s, expected an array", json_type_name(json));
    if (json_array_size(json) > VOCAB_MAX_IDS)
        return err_set(err, "%zu added tokens are more than are supported", json_array_size(json));
    added->tokens = xcalloc(json_array_size(json) + 1, sizeof *added->tokens);
    json_t *item;
    size_t i;
    json_array_foreach(json, i, item) {
        if (parse_token(&added->tokens[added->count], item, err) != 0)
            return err_prefix(err, "added token number %zu", i);
        if (added->tokens[added->count].content_bytes == 0)
            free(added->tokens[added->count].content); /* never matches: ignored, as in the reference */
        else
            added->count++;
    }
    qsort(added->tokens, (size_t)added->count, sizeof *added->tokens, by_content);
    for (int t = 1; t < added->count; t++)
        if (by_content(&added->tokens[t - 1], &added->tokens[t]) == 0)
            return err_set(err, "added token '%.64s' is listed twice", added->tokens[t].content);
    return 0;
}

int64_t added_highest(const struct added_tokens *added) {
    int64_t size = 0;
    for (int t = 0; t < added->count; t++)
        if (added->tokens[t].id >= size)
            size = added->tokens[t].id + 1;
    return size;
}

/* An added token is either one of the model's tokens, under the same id, or new under an id of its own. */
static int enter(const struct added_token *token, struct vocab *vocab, struct err *err) {
    int32_t model_id = vocab_find_text(vocab, token->content, token->content_bytes);
    if (model_id >= 0 && model_id != token->id)
        return err_set(err, "added token '%.64s' has id %d but the vocabulary says %d", token->content,
                       token->id, model_id);
    if (model_id < 0) {
        size_t length_bytes;
        const char *taken = vocab_text(vocab, token->id, &length_bytes);
        if (taken)
            return err_set(err, "added token '%.64s' has the id %d of token '%.64s'", token->content,
                           token->id, taken);
        vocab_add(vocab, token->id, token->content, token->content_bytes);
    }
    vocab->kinds[token->id] = token->special ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
    return 0;
}

/* set_match - what is looked for: a token that is found after normalising has to be normalised itself, or it never is. */
static int set_match(struct added_token *token, const struct normaliser *normaliser,
                     struct regex_state *regexes, struct err *err) {
    struct text buffers[2] = {{0}, {0}};
    struct text_span match = {token->content, token->content_bytes};
    int status = 0;
    if (token->normalised)
        status = normaliser_apply(normaliser, regexes, match, buffers, &match, err);
    if (status == 0) {
        token->match_bytes = match.length_bytes;
        token->match = text_copy(match.bytes, match.length_bytes);
    }
    text_release(&buffers[0]);
    text_release(&buffers[1]);
    return status;
}

/* sort_set - by bytes, with the first token of each first byte: most places of a text are passed over by one look-up. */
static void sort_set(struct added_set *set, const struct added_tokens *added, bool normalised) {
    set->sorted = xmalloc(((size_t)added->count + 1) * sizeof *set->sorted);
    for (int t = 0; t < added->count; t++)
        if (added->tokens[t].normalised == normalised && added->tokens[t].match_bytes > 0)
            set->sorted[set->count++] = &added->tokens[t];
    qsort(set->sorted, (size_t)set->count, sizeof *set->sorted, by_match);
    for (int byte = 0, t = 0; byte <= 256; byte++) {
        while (t < set->count && (unsigned char)set->sorted[t]->match[0] < byte)
            t++;
        set->first[byte] = t;
    }
}

int added_prepare(struct added_tokens *added, struct vocab *vocab, const struct normaliser *normaliser,
                  struct err *err) {
    struct regex_state *regexes = regex_state_create();
    int status = 0;
    for (int t = 0; t < added->count && status == 0; t++) {
        status = enter(&added->tokens[t], vocab, err);
        if (status == 0)
            status = set_match(&added->tokens[t], normaliser, regexes, err);
    }
    regex_state_free(regexes);
    if (status != 0)
        return -1;
    sort_set(&added->raw, added, false);
    sort_set(&added->normalised, added, true);
    for (int t = 1; t < added->normalised.count; t++)
        if (by_match(&added->normalised.sorted[t - 1], &added->normalised.sorted[t]) == 0)
            return err_set(err, "added tokens '%.64s' and '%.64s' are the same once normalised",
                           added->normalised.sorted[t - 1]->content, added->normalised.sorted[t]->content);
    return 0;
}

void added_release(struct added_tokens *added) {
    for (int t = 0; t < added->count; t++) {
        free(added->tokens[t].content);
        free(added->tokens[t].match);
    }
    free(added->tokens);
    free(added->raw.sorted);
    free(added->normalised.sorted);
    *added = (struct added_tokens){0};
}

const struct added_token *added_find(const struct added_tokens *added, const char *content,
                                     size_t length_bytes) {
    int low = 0, high = added->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const struct added_token *token = &added->tokens[middle];
        int order = compare_bytes(content, length_bytes, token->content, token->content_bytes);
        if (order == 0)
            return token;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* The first token in [low, high) of a range with equal first depth bytes whose byte at depth is at least
 * byte. */
static int lower_bound(const struct added_set *set, int low, int high, size_t depth, int byte) {
    while (low < high) {
        int middle = low + (high - low) / 2;
        const struct added_token *token = set->sorted[middle];
        int at_depth = depth < token->match_bytes ? (unsigned char)token->match[depth] : -1;
        if (at_depth < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that starts text, or NULL. */
static const struct added_token *longest_at(const struct added_set *set, const char *text, const char *end) {
    int low = set->first[(unsigned char)*text], high = set->first[(unsigned char)*text + 1];
    const struct added_token *found = NULL;
    for (size_t depth = 1; low < high; depth++) {
        if (set->sorted[low]->match_bytes == depth) /* the shortest sorts first */
            found = set->sorted[low];
        if (text + depth == end)
            break;
        int byte = (unsigned char)text[depth];
        low = lower_bound(set, low, high, depth, byte);
        high = lower_bound(set, low, high, depth, byte + 1);
    }
    return found;
}

/* is_inside_word - whether a letter or digit stands right before or after: a single_word token is not taken there. */
static bool is_inside_word(const struct char_table *chars, struct text_span text, const char *start,
                           const char *stop) {
    if (start > text.bytes && char_is_word_around_token(chars, text_previous_char(start)))
        return true;
    return stop < text.bytes + text.length_bytes && char_is_word_around_token(chars, text_next_char(&stop));
}

/* The span with the white space around it that the token takes along, not before from. */
static struct text_span widen(const struct added_token *token, const struct char_table *chars,
                              struct text_span text, const char *from, const char *start) {
    const char *stop = start + token->match_bytes, *end = text.bytes + text.length_bytes;
    while (token->strips_left && start > from) {
        uint32_t previous = text_previous_char(start);
        char room[4];
        if (!(char_class(chars, previous) & CHAR_SPACE))
            break;
        start -= text_encode_char(room, previous);
    }
    for (const char *next = stop; token->strips_right && stop < end; stop = next)
        if (!(char_class_next(chars, &next) & CHAR_SPACE))
            break;
    return (struct text_span){start, (size_t)(stop - start)};
}

const struct added_token *added_next(const struct added_set *set, const struct char_table *chars,
                                     struct text_span text, size_t from, bool with_special,
                                     struct text_span *span, size_t *resume) {
    const char *end = text.bytes + text.length_bytes;
    if (set->count == 0)
        return NULL;
    for (const char *at = text.bytes + *resume; at < end;) {
        unsigned char byte = (unsigned char)*at;
        const struct added_token *token =
            set->first[byte] < set->first[byte + 1] ? longest_at(set, at, end) : NULL;
        if (!token) {
            at++;
            continue;
        }
        const char *stop = at + token->match_bytes;
        bool skipped = (token->special && !with_special) ||
                       (token->single_word && is_inside_word(chars, text, at, stop));
        if (!skipped) {
            *span = widen(token, chars, text, text.bytes + from, at);
            *resume = (size_t)(stop - text.bytes);
            return token;
        }
        at = stop;
    }
    return NULL;
}
