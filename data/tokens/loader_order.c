/* loader_order.c - documents of one file, shuffled and cut into samples.  Everything here is integer arithmetic on
 * (seed, file, epoch, s). */
#include "data/tokens/loader_order.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/rng.h"

/* The epoch number in the key of the grouping, which belongs to no epoch. */
static const uint32_t GROUPING = UINT32_MAX;

/* smaller - the smaller of two counts. */
static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Places that are asked for ahead of their use: of ten million numbers most are not in any cache. */
enum { AHEAD = 64 };

/* shuffled - the numbers 0 .. count - 1 in an order that depends on (seed, file, epoch) (Fisher and Yates).  Which places change
 * does not depend on what stands there: those of the next steps are drawn first and fetched together, in a third of the time. */
static uint32_t *shuffled(const struct file_order *order, int64_t count, uint32_t epoch) {
    uint64_t stream = rng_stream(RNG_SHUFFLE, (uint64_t)order->index << 32 | epoch);
    uint32_t *numbers = xmalloc((size_t)count * sizeof *numbers);
    int64_t drawn[AHEAD];
    for (int64_t i = 0; i < count; i++)
        numbers[i] = (uint32_t)i;
    for (int64_t last = count - 1; last > 0; last -= AHEAD) {
        int64_t num_drawn = smaller(last, AHEAD);
        for (int64_t k = 0; k < num_drawn; k++) {
            uint64_t i = (uint64_t)(last - k);
            drawn[k] = (int64_t)rng_below(order->seed, stream, i, i + 1);
            __builtin_prefetch(&numbers[drawn[k]], 1);
        }
        for (int64_t k = 0; k < num_drawn; k++) {
            uint32_t other = numbers[drawn[k]];
            numbers[drawn[k]] = numbers[last - k];
            numbers[last - k] = other;
        }
    }
    return numbers;
}

int64_t file_order_document_tokens(const struct file_order *order, int64_t document) {
    const uint64_t *offsets = token_file_offsets(order->file);
    return (int64_t)(offsets[document + 1] - offsets[document]);
}

int64_t file_order_unit_tokens(const struct file_order *order, int64_t unit) {
    const uint64_t *offsets = token_file_offsets(order->file);
    return (int64_t)(offsets[(unit + 1) * order->unit_documents] - offsets[unit * order->unit_documents]);
}

/* used_unit_tokens - of a unit. */
static int64_t used_unit_tokens(const struct file_order *order, int64_t unit) {
    int64_t whole = file_order_unit_tokens(order, unit);
    if (order->packing == PACKING_STREAM || whole <= order->sequence_tokens)
        return whole;
    return order->long_documents == LONG_SKIP ? 0 : order->sequence_tokens;
}

/* A pair is never cut: file_order_check_long sees to it. */
int64_t file_order_used_tokens(const struct file_order *order, int64_t document) {
    int64_t used = used_unit_tokens(order, document / order->unit_documents);
    return order->unit_documents == 1 || used == 0 ? used : file_order_document_tokens(order, document);
}

/* count_long - units that do not fit into a sequence. */
static void count_long(struct file_order *order) {
    int64_t longest = 0;
    for (int64_t i = 0; i < order->num_units; i++) {
        int64_t tokens = file_order_unit_tokens(order, i);
        order->num_long += tokens > order->sequence_tokens;
        order->num_cut_tokens += tokens - used_unit_tokens(order, i);
        if (tokens > longest) {
            longest = tokens;
            order->longest = i * order->unit_documents;
        }
    }
}

/* form_groups - next fit: a group is closed when the next unit does not fit.  Units of which nothing is used are dropped
 * here, so that every group has at least one token. */
static void form_groups(struct file_order *order) {
    int64_t filled = 0, kept = 0;
    order->grouped = shuffled(order, order->num_units, GROUPING);
    order->group_first = xmalloc((size_t)(order->num_units + 1) * sizeof *order->group_first);
    for (int64_t i = 0; i < order->num_units; i++) {
        if (i + AHEAD < order->num_units)
            __builtin_prefetch(token_file_offsets(order->file) +
                               (int64_t)order->grouped[i + AHEAD] * order->unit_documents);
        int64_t used = used_unit_tokens(order, order->grouped[i]);
        if (used == 0)
            continue;
        if (kept == 0 || filled + used > order->sequence_tokens) {
            order->group_first[order->num_samples++] = (uint32_t)kept;
            filled = 0;
        }
        filled += used;
        order->grouped[kept++] = order->grouped[i];
    }
    order->group_first[order->num_samples] = (uint32_t)kept;
}

/* form_eval_groups - the same in the file's order, where pairs have to stay whole. */
static void form_eval_groups(struct file_order *order) {
    int64_t filled = order->sequence_tokens;
    order->eval_first = xmalloc((size_t)(order->num_units + 1) * sizeof *order->eval_first);
    for (int64_t i = 0; i < order->num_units; i++) {
        int64_t used = used_unit_tokens(order, i);
        if (used > 0 && filled + used > order->sequence_tokens) {
            order->eval_first[order->num_eval_groups++] = (uint32_t)i;
            filled = 0;
        }
        filled += used;
    }
    order->eval_first[order->num_eval_groups] = (uint32_t)order->num_units;
}

int64_t file_order_num_eval_samples(const struct file_order *order) {
    if (order->eval_first)
        return order->num_eval_groups;
    return (token_file_num_tokens(order->file) + order->sequence_tokens - 1) / order->sequence_tokens;
}

/* packing_of - auto keeps whole what is learnt as an answer to what came before it: of that the beginning must not be missing.  Where
 * everything counts in the loss and nothing was written by a template, nothing of the kind is in the file. */
static enum packing packing_of(const struct token_file *file, enum packing asked) {
    bool has_answers = token_file_has_mask(file) || token_file_chat(file)->style ||
                       token_file_preference(file) != PREFERENCE_NONE;
    if (asked != PACKING_AUTO)
        return asked;
    return has_answers ? PACKING_WHOLE : PACKING_STREAM;
}

/* Groups are formed here and shuffled in each epoch: forming them anew would give every epoch another number of samples. */
void file_order_init(struct file_order *order, const struct token_file *file, int index,
                     const struct loader_config *config) {
    *order = (struct file_order){.file = file,
                                 .unit_documents = token_file_preference(file) == PREFERENCE_NONE ? 1 : 2,
                                 .index = index,
                                 .seed = (uint64_t)config->seed,
                                 .packing = packing_of(file, config->packing),
                                 .long_documents = config->long_documents,
                                 .sequence_tokens = config->sequence_tokens};
    order->recent[0].epoch = order->recent[1].epoch = -1;
    order->num_units = token_file_num_documents(file) / order->unit_documents;
    count_long(order);
    if (order->unit_documents > 1)
        form_eval_groups(order);
    if (order->packing == PACKING_WHOLE)
        form_groups(order);
    else
        order->num_samples = file_order_num_eval_samples(order);
}

void file_order_release(struct file_order *order) {
    for (int i = 0; i < 2; i++) {
        free(order->recent[i].order);
        free(order->recent[i].starts);
    }
    free(order->grouped);
    free(order->group_first);
    free(order->eval_first);
    *order = (struct file_order){0};
}

/* epoch_of - the tables of an epoch; the older of the two kept ones makes room for a new one. */
static const struct epoch_order *epoch_of(struct file_order *order, int64_t epoch) {
    for (int i = 0; i < 2; i++)
        if (order->recent[i].epoch == epoch)
            return &order->recent[i];
    order->latest = !order->latest;
    struct epoch_order *made = &order->recent[order->latest];
    free(made->order);
    free(made->starts);
    *made = (struct epoch_order){.epoch = epoch};
    if (order->packing == PACKING_WHOLE) {
        made->order = shuffled(order, order->num_samples, (uint32_t)epoch);
        return made;
    }
    int64_t num_documents = token_file_num_documents(order->file);
    made->order = shuffled(order, num_documents, (uint32_t)epoch);
    made->starts = xmalloc((size_t)(num_documents + 1) * sizeof *made->starts);
    made->starts[0] = 0;
    for (int64_t i = 0; i < num_documents; i++) {
        if (i + AHEAD < num_documents)
            __builtin_prefetch(token_file_offsets(order->file) + made->order[i + AHEAD]);
        made->starts[i + 1] = made->starts[i] + (uint64_t)file_order_document_tokens(order, made->order[i]);
    }
    return made;
}

/* add_piece - at the end of the list. */
static void add_piece(struct piece_list *list, struct sample_piece piece) {
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 16;
        list->pieces = xrealloc(list->pieces, (size_t)list->room * sizeof *list->pieces);
    }
    list->pieces[list->count++] = piece;
}

/* window_pieces - tokens [w T, (w + 1) T) of the stream of documents.  names NULL: the file's own order. */
static void window_pieces(const struct file_order *order, const uint64_t *starts, const uint32_t *names,
                          int64_t w, struct piece_list *list) {
    int64_t num_documents = token_file_num_documents(order->file);
    int64_t at = w * order->sequence_tokens;
    int64_t end = smaller(at + order->sequence_tokens, token_file_num_tokens(order->file));
    for (int64_t i = token_last_not_above(starts, num_documents, (uint64_t)at); at < end; i++) {
        int64_t stop = smaller((int64_t)starts[i + 1], end);
        if (stop == at)
            continue; /* no tokens */
        add_piece(list, (struct sample_piece){.file = order->index,
                                              .document = names ? (int64_t)names[i] : i,
                                              .first = at - (int64_t)starts[i],
                                              .count = stop - at});
        at = stop;
    }
}

/* unit_pieces - its documents, as far as they are used. */
static void unit_pieces(const struct file_order *order, int64_t unit, struct piece_list *list) {
    for (int64_t d = unit * order->unit_documents; d < (unit + 1) * order->unit_documents; d++) {
        int64_t count = file_order_used_tokens(order, d);
        if (count > 0)
            add_piece(list, (struct sample_piece){.file = order->index, .document = d, .count = count});
    }
}

/* group_pieces - PACKING_WHOLE: a group is a sample. */
static void group_pieces(const struct file_order *order, int64_t group, struct piece_list *list) {
    for (uint32_t i = order->group_first[group]; i < order->group_first[group + 1]; i++)
        unit_pieces(order, order->grouped[i], list);
}

/* Two epochs are kept, as the samples of a step may lie on both sides of the border between them. */
void file_order_pieces(struct file_order *order, int64_t s, struct piece_list *list) {
    const struct epoch_order *epoch = epoch_of(order, s / order->num_samples);
    int64_t within = s % order->num_samples;
    if (order->packing == PACKING_WHOLE)
        group_pieces(order, epoch->order[within], list);
    else
        window_pieces(order, epoch->starts, epoch->order, within, list);
}

/* In the file's order: a loss can be compared between runs, whatever their seed. */
void file_order_eval_pieces(const struct file_order *order, int64_t w, struct piece_list *list) {
    if (!order->eval_first) {
        window_pieces(order, token_file_offsets(order->file), NULL, w, list);
        return;
    }
    for (uint32_t unit = order->eval_first[w]; unit < order->eval_first[w + 1]; unit++)
        unit_pieces(order, unit, list);
}

/* --- and back: where a document is --- */

/* place_of - of a number in a permutation. */
static int64_t place_of(const uint32_t *numbers, int64_t count, int64_t number) {
    int64_t place = 0;
    while (place < count && numbers[place] != (uint32_t)number)
        place++;
    return place;
}

/* group_of - the group of a unit; num_samples: it is in none. */
static int64_t group_of(const struct file_order *order, int64_t unit) {
    int64_t low = 0, high = order->num_samples;
    int64_t place = place_of(order->grouped, order->group_first[high], unit);
    if (place == order->group_first[high])
        return high;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (order->group_first[middle] <= place)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* find_in - the pieces of sample s, made as for training, that are the document's. */
static void find_in(struct file_order *order, int64_t s, int64_t document, struct found_list *list) {
    struct piece_list pieces = {0};
    file_order_pieces(order, s, &pieces);
    for (int64_t p = 0; p < pieces.count; p++) {
        if (pieces.pieces[p].document != document)
            continue;
        if (list->count == list->room) {
            list->room = list->room ? 2 * list->room : 16;
            list->found = xrealloc(list->found, (size_t)list->room * sizeof *list->found);
        }
        list->found[list->count++] = (struct found_piece){s, pieces.pieces[p]};
    }
    free(pieces.pieces);
}

/* The tables of the epoch are looked through for the place; what is there is then asked of file_order_pieces, as training
 * does: there is one definition of what a sample holds. */
void file_order_find(struct file_order *order, int64_t document, int64_t epoch, struct found_list *list) {
    int64_t first = epoch * order->num_samples, tokens = file_order_used_tokens(order, document);
    if (tokens == 0)
        return;
    const struct epoch_order *tables = epoch_of(order, epoch);
    if (order->packing == PACKING_WHOLE) {
        int64_t group = group_of(order, document / order->unit_documents);
        int64_t place = place_of(tables->order, order->num_samples, group);
        if (place < order->num_samples)
            find_in(order, first + place, document, list);
        return;
    }
    int64_t place = place_of(tables->order, token_file_num_documents(order->file), document);
    int64_t begin = (int64_t)tables->starts[place], end = begin + tokens;
    for (int64_t w = begin / order->sequence_tokens; w * order->sequence_tokens < end; w++)
        find_in(order, first + w, document, list);
}
