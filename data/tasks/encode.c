/* encode.c - from the texts of an item to the tokens that are read and those that are scored.  See encode.h. */
#include "data/tasks/encode.h"

#include <stdlib.h>
#include <string.h>

#include "data/corpus/text.h"

/* A choice while its item is at hand. */
struct whole {
    struct token_list ids; /* query and choice */
    int64_t num_context;   /* how many of them are the query's */
    int64_t text;          /* index of the text it is read in; -1: none of its own */
};

struct encoding {
    struct task_tokens *tokens;
    const struct tokenizer *tokenizer;
    struct encoder *encoder;
    struct token_list context;
    struct text joined;
    struct whole wholes[TASK_MAX_CHOICES];
    int64_t max_tokens, texts_room, targets_room;
    bool
        is_joined; /* of the item at hand: a choice is tokenised otherwise after its query than apart from it */
};

/* --- tokens of one choice --- */

/* query_bytes - without the white space at its end, which is the choice's. */
static size_t query_bytes(const char *query) {
    const char *end = query + strlen(query);
    while (end > query && text_is_space(text_previous_char(end)))
        do
            end--;
        while (((unsigned char)*end & 0xC0) == 0x80);
    return (size_t)(end - query);
}

static void insert_first(struct token_list *list, int32_t id) {
    token_list_push(list, id);
    memmove(list->ids + 1, list->ids, (size_t)(list->count - 1) * sizeof *list->ids);
    list->ids[0] = id;
}

/* encode_text - with the begin token that the tokenizer adds, unless it is written there. */
static int encode_text(struct encoding *e, const char *text, size_t length_bytes, struct token_list *out,
                       struct err *err) {
    out->count = 0;
    if (encoder_encode(e->encoder, text, length_bytes, ENCODE_PARSE_SPECIAL, out, err) != 0)
        return -1;
    int32_t bos = tokenizer_bos(e->tokenizer);
    if (tokenizer_adds_bos(e->tokenizer) && bos >= 0 && (out->count == 0 || out->ids[0] != bos))
        insert_first(out, bos);
    return 0;
}

/* first_token - what stands for a query without tokens. */
static int32_t first_token(const struct tokenizer *tokenizer) {
    int32_t bos = tokenizer_bos(tokenizer);
    return bos >= 0 ? bos : tokenizer_eos(tokenizer);
}

/* join - the query's own tokens stand before the choice's, also where the two tokenised together begin otherwise. */
static void join(struct encoding *e, struct whole *whole) {
    size_t context_bytes = (size_t)e->context.count * sizeof *whole->ids.ids;
    if (whole->ids.count < e->context.count || memcmp(whole->ids.ids, e->context.ids, context_bytes) == 0)
        return;
    memcpy(whole->ids.ids, e->context.ids, context_bytes);
    e->is_joined = true;
}

/* encode_choice - query and choice together; num_context says where the choice begins. */
static int encode_choice(struct encoding *e, const struct task_item *item, int choice, struct err *err) {
    const char *text = task_choice(item, choice);
    struct whole *whole = &e->wholes[choice];
    struct text *joined = &e->joined;
    joined->length_bytes = 0;
    text_append(joined, item->query, strlen(item->query));
    text_append(joined, item->delimiter, strlen(item->delimiter));
    text_append(joined, text, strlen(text));
    if (encode_text(e, joined->bytes, joined->length_bytes, &whole->ids, err) != 0)
        return -1;
    whole->num_context = e->context.count;
    if (whole->num_context > 0) {
        join(e, whole);
        return 0;
    }
    int32_t first = first_token(e->tokenizer);
    if (first < 0)
        return err_set(
            err,
            "the query has no tokens, and the tokenizer has neither a begin nor an end token to stand for it: "
            "write a query");
    if (whole->ids.count == 0 || whole->ids.ids[0] != first)
        insert_first(&whole->ids, first);
    whole->num_context = 1;
    return 0;
}

/* --- texts and targets of one item --- */

/* is_read_in - all but the last token of a are the beginning of all but the last token of b. */
static bool is_read_in(const struct whole *a, const struct whole *b) {
    return a->ids.count <= b->ids.count &&
           memcmp(a->ids.ids, b->ids.ids, (size_t)(a->ids.count - 1) * sizeof *a->ids.ids) == 0;
}

/* owner_of - the choice in whose text this one is read: the longest, of equal ones the first. */
static int owner_of(const struct encoding *e, int choice, int num_choices) {
    int owner = choice;
    for (int c = 0; c < num_choices; c++) {
        int64_t count = e->wholes[c].ids.count, best = e->wholes[owner].ids.count;
        if ((count > best || (count == best && c < owner)) && is_read_in(&e->wholes[choice], &e->wholes[c]))
            owner = c;
    }
    return owner;
}

/* add_text - all but the last token, as one more text. */
static void add_text(struct encoding *e, struct whole *whole) {
    struct task_tokens *tokens = e->tokens;
    if (tokens->num_texts + 1 >= e->texts_room) {
        e->texts_room = 2 * e->texts_room + 64;
        tokens->texts = xrealloc(tokens->texts, (size_t)e->texts_room * sizeof *tokens->texts);
        tokens->texts[0] = 0;
    }
    for (int64_t i = 0; i + 1 < whole->ids.count; i++)
        token_list_push(&tokens->inputs, whole->ids.ids[i]);
    whole->text = tokens->num_texts++;
    tokens->texts[tokens->num_texts] = tokens->inputs.count;
    if (whole->ids.count - 1 > tokens->longest)
        tokens->longest = whole->ids.count - 1;
}

/* add_targets - of a choice that is read in a text. */
static void add_targets(struct encoding *e, const struct whole *whole, int64_t text, int64_t choice) {
    struct task_tokens *tokens = e->tokens;
    int64_t count = whole->ids.count - whole->num_context;
    if (tokens->num_targets + count > e->targets_room) {
        e->targets_room = 2 * e->targets_room + count;
        tokens->targets = xrealloc(tokens->targets, (size_t)e->targets_room * sizeof *tokens->targets);
    }
    for (int64_t i = whole->num_context; i < whole->ids.count; i++)
        tokens->targets[tokens->num_targets++] =
            (struct task_target){tokens->texts[text] + i - 1, choice, whole->ids.ids[i]};
}

static int by_row(const void *a, const void *b) {
    const struct task_target *x = a, *y = b;
    int order = (x->row > y->row) - (x->row < y->row);
    return order ? order : (x->choice > y->choice) - (x->choice < y->choice);
}

/* state_of - whether the item can be scored as it stands. */
static enum task_state state_of(const struct encoding *e, int num_choices) {
    for (int c = 0; c < num_choices; c++)
        if (e->wholes[c].ids.count <= e->wholes[c].num_context)
            return TASK_NO_TOKENS;
    for (int c = 0; c < num_choices; c++)
        if (e->wholes[c].ids.count - 1 > e->max_tokens)
            return TASK_TOO_LONG;
    return TASK_SCORED;
}

/* lay_out - the texts of the item at hand, then what is scored in them. */
static void lay_out(struct encoding *e, int64_t first_choice, int num_choices) {
    struct task_tokens *tokens = e->tokens;
    int owners[TASK_MAX_CHOICES];
    int64_t first_target = tokens->num_targets;
    for (int c = 0; c < num_choices; c++) {
        owners[c] = owner_of(e, c, num_choices);
        if (owners[c] == c)
            add_text(e, &e->wholes[c]);
    }
    for (int c = 0; c < num_choices; c++)
        add_targets(e, &e->wholes[c], e->wholes[owners[c]].text, first_choice + c);
    qsort(tokens->targets + first_target, (size_t)(tokens->num_targets - first_target),
          sizeof *tokens->targets, by_row);
}

/* encode_item - its choices are counted whether it is scored or not. */
static int encode_item(struct encoding *e, const struct task_item *item, int64_t index, struct err *err) {
    struct task_tokens *tokens = e->tokens;
    int64_t first_choice = tokens->first_choice[index];
    e->is_joined = false;
    if (encode_text(e, item->query, query_bytes(item->query), &e->context, err) != 0)
        return -1;
    for (int c = 0; c < item->num_choices; c++) {
        const char *text = task_choice(item, c);
        if (encode_choice(e, item, c, err) != 0)
            return -1;
        tokens->choices[first_choice + c] =
            (struct task_choice){.num_tokens = e->wholes[c].ids.count - e->wholes[c].num_context,
                                 .num_chars = text_num_chars(text),
                                 .num_bytes = (int64_t)strlen(text)};
    }
    tokens->states[index] = state_of(e, item->num_choices);
    if (e->is_joined && tokens->states[index] == TASK_SCORED && tokens->num_joined++ == 0)
        tokens->first_joined = index;
    if (tokens->states[index] == TASK_SCORED)
        lay_out(e, first_choice, item->num_choices);
    return 0;
}

/* make_room - for what is known before anything is encoded. */
static void make_room(struct task_tokens *tokens, const struct task_set *set) {
    tokens->num_items = set->num_items;
    tokens->first_choice = xcalloc((size_t)set->num_items + 1, sizeof *tokens->first_choice);
    tokens->states = xcalloc((size_t)set->num_items + 1, sizeof *tokens->states);
    for (int64_t i = 0; i < set->num_items; i++)
        tokens->first_choice[i + 1] = tokens->first_choice[i] + set->items[i].num_choices;
    tokens->num_choices = tokens->first_choice[set->num_items];
    tokens->choices = xcalloc((size_t)tokens->num_choices + 1, sizeof *tokens->choices);
}

/* check_some - an evaluation of no items says nothing. */
static int check_some(const struct task_tokens *tokens, int64_t max_tokens, struct err *err) {
    int64_t first, num_long = task_left_out(tokens, TASK_TOO_LONG, &first),
                   num_empty = task_left_out(tokens, TASK_NO_TOKENS, &first);
    if (num_long + num_empty < tokens->num_items)
        return 0;
    return err_set(
        err,
        "none of the %lld items can be scored: %lld are longer than %lld tokens, %lld have a choice that "
        "adds no token to its query",
        (long long)tokens->num_items, (long long)num_long, (long long)max_tokens, (long long)num_empty);
}

int task_encode(struct task_tokens *tokens, const struct task_set *set, const struct tokenizer *tokenizer,
                int64_t max_tokens, struct err *err) {
    struct encoding *e = xcalloc(1, sizeof *e);
    char name[TASK_NAME_ROOM];
    int status = 0;
    *tokens = (struct task_tokens){0};
    make_room(tokens, set);
    e->tokens = tokens;
    e->tokenizer = tokenizer;
    e->encoder = encoder_open(tokenizer);
    e->max_tokens = max_tokens;
    for (int64_t i = 0; i < set->num_items && status == 0; i++)
        if ((status = encode_item(e, &set->items[i], i, err)) != 0)
            err_prefix(err, "%s", task_item_name(set, i, name));
    encoder_close(e->encoder);
    token_list_release(&e->context);
    text_release(&e->joined);
    for (int c = 0; c < TASK_MAX_CHOICES; c++)
        token_list_release(&e->wholes[c].ids);
    free(e);
    return status == 0 ? check_some(tokens, max_tokens, err) : -1;
}

void task_tokens_release(struct task_tokens *tokens) {
    token_list_release(&tokens->inputs);
    free(tokens->texts);
    free(tokens->targets);
    free(tokens->choices);
    free(tokens->first_choice);
    free(tokens->states);
    *tokens = (struct task_tokens){0};
}

int64_t task_left_out(const struct task_tokens *tokens, enum task_state state, int64_t *first) {
    int64_t count = 0;
    *first = -1;
    for (int64_t i = 0; i < tokens->num_items; i++)
        if (tokens->states[i] == state) {
            *first = *first < 0 ? i : *first;
            count++;
        }
    return count;
}
