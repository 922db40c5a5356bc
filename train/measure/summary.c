/* summary.c - see summary.h. */
#include "train/measure/summary.h"

#include <string.h>

#include "data/tokens/loader.h"
#include "train/measure/tree.h"

enum { BAR_WIDTH = 40 };

/* --- a file --- */

static double share_of(int64_t part, int64_t all) {
    return all > 0 ? (double)part / (double)all : 0;
}

/* lengths_json - from the shortest to the longest that there are, those between them too. */
static json_t *lengths_json(const struct token_summary *summary) {
    json_t *lengths = json_array();
    int first = 0, last = LENGTH_CLASSES - 1;
    while (first < last && summary->lengths[first] == 0)
        first++;
    while (last > first && summary->lengths[last] == 0)
        last--;
    for (int k = first; k <= last && summary->num_documents > 0; k++) {
        json_t *class = json_object();
        tree_int(class, "from", token_summary_from(k));
        tree_int(class, "to", token_summary_from(k + 1) - 1);
        tree_int(class, "documents", summary->lengths[k]);
        tree_append(lengths, class);
    }
    return lengths;
}

void summary_put(json_t *object, const struct token_summary *summary) {
    json_t *longest = json_object();
    tree_int(object, "learnt_tokens", summary->num_learnt);
    tree_put(object, "learnt_share", json_real(share_of(summary->num_learnt, summary->num_tokens)));
    tree_int(object, "documents_without_learnt", summary->num_without);
    tree_int(longest, "document", summary->longest);
    tree_int(longest, "tokens", summary->most_tokens);
    tree_put(object, "longest_document", longest);
    tree_put(object, "lengths", lengths_json(summary));
}

void summary_print_lengths(FILE *out, const json_t *lengths, int indent) {
    const json_t *class;
    size_t i;
    json_int_t most = 1;
    json_array_foreach(lengths, i, class) {
        json_int_t count = json_integer_value(json_object_get(class, "documents"));
        most = count > most ? count : most;
    }
    json_array_foreach(lengths, i, class) {
        json_int_t count = json_integer_value(json_object_get(class, "documents"));
        int width = (int)((double)count / (double)most * BAR_WIDTH + 0.5);
        fprintf(out, "%*s%8lld to %8lld tokens %9lld %.*s\n", indent, "",
                (long long)json_integer_value(json_object_get(class, "from")),
                (long long)json_integer_value(json_object_get(class, "to")), (long long)count,
                count > 0 && width == 0 ? 1 : width, "########################################");
    }
}

/* share_digits - three, and more where they would say 100 % of what is not all. */
static int share_digits(double share) {
    int digits = 3;
    double half = 0.05; /* of the last place */
    for (; share < 1 && 100 * (1 - share) <= half && digits < 15; half /= 10)
        digits++;
    return digits;
}

void summary_print(FILE *out, const struct token_summary *summary) {
    json_t *lengths = lengths_json(summary);
    double learnt = share_of(summary->num_learnt, summary->num_tokens);
    fprintf(out, "  learnt         %lld tokens, %.*g %%\n", (long long)summary->num_learnt,
            share_digits(learnt), 100 * learnt);
    if (summary->num_without > 0)
        fprintf(out, "  nothing learnt of %lld documents\n", (long long)summary->num_without);
    fprintf(out, "  longest        document %lld%s, %lld tokens\n", (long long)summary->longest,
            summary->place, (long long)summary->most_tokens);
    fprintf(out, "  lengths\n");
    summary_print_lengths(out, lengths, 4);
    json_decref(lengths);
}

/* --- with a run --- */

/* samples_of - how many sequences of the file the run reads, by the weights; 0: it is not in data.train. */
static double samples_of(const char *path, const struct config *config) {
    double sum = 0, own = 0;
    for (int i = 0; i < config->data.num_train; i++) {
        const struct data_file *file = &config->data.train[i];
        sum += file->weight;
        own += strcmp(file->path, path) == 0 ? file->weight : 0;
    }
    return (double)config->train.steps * (double)config->train.batch_sequences * own / sum;
}

int summary_run(struct run_share *share, const char *path, const struct config *config, struct err *err) {
    const struct loader_file file = {path, 1};
    const struct loader_config wanted = {.files = &file,
                                         .num_files = 1,
                                         .sequence_tokens = config->data.sequence_tokens,
                                         .seed = config->run.seed,
                                         .packing = config->data.packing,
                                         .long_documents = config->data.long_documents};
    *share = (struct run_share){.sequence_tokens = 0};
    if (config->data.num_train == 0)
        return 0;
    struct loader *loader = loader_open(&wanted, err);
    if (!loader)
        return -1;
    *share = (struct run_share){.sequence_tokens = config->data.sequence_tokens,
                                .packing = loader_packing(loader, 0),
                                .long_documents = config->data.long_documents,
                                .num_sequences = loader_epoch_samples(loader, 0),
                                .num_longer = loader_num_longer(loader, 0),
                                .num_cut = loader_num_cut_tokens(loader),
                                .num_steps = config->train.steps,
                                .batch_sequences = config->train.batch_sequences};
    share->epochs = samples_of(path, config) / (double)share->num_sequences;
    loader_close(loader);
    return 0;
}

/* longer_word - what becomes of documents that are longer than a sequence. */
static const char *longer_word(const struct run_share *share) {
    if (share->packing == PACKING_STREAM)
        return "continued";
    return share->long_documents == LONG_SKIP ? "skipped" : "cut";
}

void summary_put_run(json_t *object, const struct run_share *share) {
    json_t *run = json_object();
    if (share->sequence_tokens == 0) {
        json_decref(run);
        return;
    }
    tree_int(run, "sequence_tokens", share->sequence_tokens);
    tree_int(run, "sequences", share->num_sequences);
    tree_int(run, "longer_documents", share->num_longer);
    tree_put(run, "longer_are", json_string(longer_word(share)));
    tree_int(run, "unused_tokens", share->num_cut);
    tree_int(run, "steps", share->num_steps);
    tree_put(run, "epochs", json_real(share->epochs));
    tree_put(object, "run", run);
}

int summary_digits(double times) {
    int digits = 3;
    for (double more = 999.5; times >= more && digits < 15; more *= 10)
        digits++;
    return digits;
}

void summary_print_run(FILE *out, const struct run_share *share) {
    if (share->sequence_tokens == 0)
        return;
    fprintf(out, "  sequences      %lld of %lld tokens (data.packing: %s)", (long long)share->num_sequences,
            (long long)share->sequence_tokens, share->packing == PACKING_WHOLE ? "whole" : "stream");
    if (share->num_longer > 0 && share->packing == PACKING_STREAM)
        fprintf(out, "; %lld documents are longer and go on in the next one", (long long)share->num_longer);
    else if (share->num_longer > 0)
        fprintf(out, "; %lld documents are longer and %s: %lld tokens are never used",
                (long long)share->num_longer, longer_word(share), (long long)share->num_cut);
    fputc('\n', out);
    if (share->epochs > 0)
        fprintf(out, "  epochs         %.*g: train.steps %lld of %lld sequences each\n",
                summary_digits(share->epochs), share->epochs, (long long)share->num_steps,
                (long long)share->batch_sequences);
    else if (share->num_steps == 0)
        fprintf(out,
                "  epochs         as train.epochs says; the steps follow from all files of data.train\n");
    else
        fprintf(out, "  epochs         none: data.train does not name this file\n");
}
