/* card.c - the parts of the card.  Each function writes one part of the card, in its order; front matter and cost
 * have files of their own. */
#include "train/record/card.h"

#include <math.h>
#include <stdlib.h>

#include "train/record/card_parts.h"
#include "train/record/divergence.h"

enum { MAX_GENERATIONS = 16 }; /* of base models that were trained here */

/* --- what it is --- */

static void put_title(const struct card *card) {
    card_put(card, "# ");
    const char *name = card_text_of(card->base, "name");
    card_put(card, card->base ? card->words->title_from_base : card->words->title_new);
    if (card->base)
        put_markdown(card->out, name ? name : card->words->unknown);
    card_put(card, "\n\n");
    card_blank(card, card->words->blank_purpose);
}

static void put_base(const struct card *card) {
    const struct card_words *w = card->words;
    const char *repository = card_text_of(card->base, "repository"),
               *hash = card_text_of(card->base, "sha256");
    card_text_item(card, w->base_model, repository ? repository : card_text_of(card->base, "name"));
    card_text_item(card, w->base_licence, card_text_of(card->base, "licence"));
    card_begin_item(card, w->base_hash);
    if (hash) {
        put_markdown(card->out, hash);
        fprintf(card->out, " (%s)\n", w->base_hash_how);
    } else {
        fprintf(card->out, "%s\n", w->base_hash_unknown);
    }
}

/* put_dates - days only. */
static void put_dates(const struct card *card) {
    const char *started = card_text_of(card->root, "started"), *updated = card_text_of(card->root, "updated");
    char day[2][11];
    snprintf(day[0], sizeof day[0], "%s", started ? started : "?");
    snprintf(day[1], sizeof day[1], "%s", updated ? updated : "?");
    put_markdown(card->out, day[0]);
    card_put(card, " – ");
    put_markdown(card->out, day[1]);
    card_put(card, "\n");
}

/* put_failure - a model that is not what its training was for: who reads the card must learn it there. */
static void put_failure(const struct card *card) {
    const struct card_words *w = card->words;
    int64_t diverged = card_int_of(card->root, "progress/diverged_since"),
            still = card_int_of(card->root, "progress/still_since"), updates = 1;
    json_get_int(json_find(card->root, "progress"), "updates", &updates,
                 NULL); /* older versions: not counted */
    if (diverged > 0)
        fprintf(card->out, "\n**%s%lld.**\n", w->diverged, (long long)diverged);
    struct divergence_past past = divergence_past_take(json_find(card->root, "progress/diverged_before"));
    if (past.times > 0)
        fprintf(card->out, "\n**%s%lld%s%lld.**\n", w->had_diverged, (long long)past.first, w->to_step,
                (long long)past.last);
    if (still > 0)
        fprintf(card->out, "\n**%s%lld.**\n", w->learnt_nothing, (long long)still);
    else if (updates == 0 && card_int_of(card->root, "progress/step") > 0)
        fprintf(card->out, "\n**%s**\n", w->no_update);
}

/* put_what - "step 500 of 500" is what says that a training came to its end. */
/* put_new_tokens - those that the base model's tokenizer lacks. */
static void put_new_tokens(const struct card *card) {
    size_t i;
    json_t *token, *tokens = json_find(card->root, "model/added_tokens");
    if (json_array_size(tokens) == 0)
        return;
    card_begin_item(card, card->words->added_tokens);
    json_array_foreach(tokens, i, token) {
        card_put(card, i ? ", " : "");
        put_markdown(card->out, json_is_string(token) ? json_string_value(token) : "?");
    }
    card_put(card, "\n");
}

/* is_merged - an adapter that was merged into its base; is_adapter - one that was not. */
static bool is_merged(const struct card *card) {
    return json_is_true(json_find(card->root, "model/adapter/merged"));
}

static bool is_adapter(const struct card *card) {
    return json_is_object(json_find(card->root, "model/adapter")) && !is_merged(card);
}

static const char *kind_text(const struct card *card) {
    const struct card_words *w = card->words;
    if (is_adapter(card) || is_merged(card))
        return is_merged(card) ? w->what_merged : w->what_adapter;
    return card->base ? w->what_from_base : w->what_new;
}

/* put_pairs - of an adapter, merged or not. */
static void put_pairs(const struct card *card) {
    if (!is_adapter(card) && !is_merged(card))
        return;
    card_count_item(card, card->words->adapter_parameters,
                    card_int_of(card->root, "model/adapter/parameters"));
    card_count_item(card, card->words->adapter_rank, card_int_of(card->root, "model/adapter/rank"));
    const char *base = json_string_value(json_find(card->root, "model/adapter/base"));
    if (base)
        card_text_item(card, card->words->adapter_base, base);
    const char *whole = json_string_value(json_find(card->root, "model/adapter/whole"));
    if (whole)
        card_text_item(card, card->words->adapter_whole, whole);
}

static void put_use(const struct card *card) {
    if (!is_adapter(card))
        return;
    card_title(card, card->words->use_title);
    bool merged_alone = json_is_true(json_find(card->root, "model/adapter/served_merged_alone"));
    card_put(card, merged_alone ? card->words->use_adapter_merged : card->words->use_adapter);
}

static void put_what(const struct card *card) {
    const struct card_words *w = card->words;
    int64_t step = card_int_of(card->root, "progress/step"),
            steps = card_int_of(card->root, "progress/steps");
    card_title(card, w->what_title);
    fprintf(card->out, "%s\n\n", kind_text(card));
    card_begin_item(card, w->parameters);
    put_count(card->out, card_int_of(card->root, "model/parameters"), w->thousands);
    card_put(card, " (");
    put_markdown(card->out, card_text_of(card->root, "model/model_type")
                                ? card_text_of(card->root, "model/model_type")
                                : "?");
    card_put(card, ", ");
    put_markdown(card->out,
                 card_text_of(card->root, "model/dtype") ? card_text_of(card->root, "model/dtype") : "?");
    card_put(card, ")\n");
    put_pairs(card);
    if (card->base)
        put_base(card);
    if (card_text_of(card->root, "model/wrapper"))
        card_text_item(card, w->wrapper, card_text_of(card->root, "model/wrapper"));
    put_new_tokens(card);
    card_begin_item(card, w->trained);
    put_dates(card);
    card_begin_item(card, w->progress);
    put_count(card->out, step, w->thousands);
    card_put(card, w->of_steps);
    put_count(card->out, steps, w->thousands);
    card_put(card, "\n");
    card_text_item(card, w->program, card_text_of(card->root, "program"));
    if (step < steps)
        fprintf(card->out, "\n%s\n", w->not_finished);
    put_failure(card);
}

/* --- data --- */

static void put_cell(const struct card *card, int64_t value) {
    put_count(card->out, value, card->words->thousands);
    card_put(card, " | ");
}

static void put_share(const struct card *card, int64_t part, int64_t whole) {
    put_real(card->out, whole > 0 ? 100.0 * (double)part / (double)whole : 0, card->words->decimal);
    card_put(card, " % |\n");
}

/* put_corpus - a row of the table; all texts come from users' files and are escaped. */
static void put_corpus(const struct card *card, const json_t *corpus, int64_t all_tokens) {
    const struct card_words *w = card->words;
    const char *name = card_text_of(corpus, "name"), *licence = card_text_of(corpus, "licence"),
               *url = card_text_of(corpus, "url");
    int64_t consumed = card_int_of(corpus, "tokens_consumed");
    card_put(card, "| ");
    put_markdown(card->out, name ? name : "?");
    card_put(card, " | ");
    if (licence)
        put_markdown(card->out, licence);
    else
        card_put(card, w->no_licence);
    card_put(card, " | ");
    if (url)
        put_address(card->out, url);
    else
        card_put(card, w->no_url);
    card_put(card, " | ");
    put_cell(card, card_int_of(corpus, "documents"));
    put_cell(card, card_int_of(corpus, "tokens"));
    put_cell(card, consumed);
    put_share(card, consumed, all_tokens);
}

/* put_table - the corpora of a provenance.  Tokens that were counted before corpora were told apart have a row of
 * their own, so that the shares add up to the whole. */
static void put_table(const struct card *card, const json_t *provenance) {
    const struct card_words *w = card->words;
    int64_t all_tokens = card_int_of(provenance, "progress/tokens");
    int64_t others = card_int_of(provenance, "progress/tokens_not_attributed");
    size_t i;
    json_t *corpus, *corpora = json_find(provenance, "corpora");
    fprintf(card->out, "%s\n|---|---|---|--:|--:|--:|--:|\n", w->data_head);
    json_array_foreach(corpora, i, corpus) put_corpus(card, corpus, all_tokens);
    if (others > 0) {
        fprintf(card->out, "| %s | | | | | ", w->not_attributed);
        put_cell(card, others);
        put_share(card, others, all_tokens);
    }
    fprintf(card->out, "| %s | | | | | ", w->total);
    put_cell(card, all_tokens);
    put_share(card, all_tokens, all_tokens);
    card_put(card, "\n");
}

/* put_earlier - what base models that were trained here say of their own training, the nearest first.  Bounded: a
 * file may nest as deep as it likes. */
static void put_earlier(const struct card *card) {
    const json_t *base = card->base;
    for (int generation = 0; base && generation < MAX_GENERATIONS; generation++) {
        const json_t *earlier = json_find(base, "provenance");
        if (!json_is_object(earlier))
            return;
        fprintf(card->out, "### %s%s", card->words->earlier_title, card->words->colon);
        put_markdown(card->out, card_text_of(base, "name") ? card_text_of(base, "name") : "?");
        fprintf(card->out, "\n\n%s\n\n", card->words->earlier_explained);
        put_table(card, earlier);
        base = json_find(earlier, "base_model");
    }
}

static void put_data(const struct card *card) {
    card_title(card, card->words->data_title);
    put_table(card, card->root);
    fprintf(card->out, "%s\n\n", card->words->data_explained);
    put_earlier(card);
    card_blank(card, card->words->blank_data);
}

/* --- procedure --- */

static void begin_row(const struct card *card, const char *name) {
    fprintf(card->out, "| %s | ", name);
}

static void int_row(const struct card *card, const char *name, const char *key) {
    begin_row(card, name);
    put_count(card->out, card_int_of(card->root, key), card->words->thousands);
    card_put(card, " |\n");
}

static void text_row(const struct card *card, const char *name, const char *key) {
    const char *text = card_text_of(card->root, key);
    begin_row(card, name);
    put_markdown(card->out, text ? text : card->words->unknown);
    card_put(card, " |\n");
}

static void real_row(const struct card *card, const char *name, const char *key) {
    begin_row(card, name);
    card_number(card, card_real_of(card->root, key));
    card_put(card, " |\n");
}

/* put_validation - with its step, which is often an earlier one than the checkpoint's. */
static void put_validation(const struct card *card) {
    const struct card_words *w = card->words;
    double loss = card_real_of(card->root, "losses/validation_last");
    begin_row(card, w->valid_last);
    card_number(card, loss);
    if (isfinite(loss)) {
        card_put(card, w->at_step);
        put_count(card->out, card_int_of(card->root, "losses/validation_step"), w->thousands);
    }
    if (isfinite(loss) && !card_text_of(card->root, "procedure/objective")) { /* only of a mean over tokens */
        fprintf(card->out, " (%s ", w->perplexity);
        put_real(card->out, exp(loss), w->decimal);
        card_put(card, ")");
    }
    card_put(card, " |\n");
}

/* put_best - of a run that keeps it: the checkpoint may be this one. */
static void put_best(const struct card *card) {
    const struct card_words *w = card->words;
    int64_t step = card_int_of(card->root, "progress/best/step");
    if (step <= 0)
        return;
    begin_row(card, w->valid_best);
    card_number(card, card_real_of(card->root, "progress/best/loss"));
    card_put(card, w->at_step);
    put_count(card->out, step, w->thousands);
    card_put(card, " |\n");
}

/* put_left_out - how many; which ones, and for what, is in provenance.json. */
static void put_left_out(const struct card *card) {
    size_t count = json_array_size(json_find(card->root, "progress/left_out"));
    if (count == 0)
        return;
    begin_row(card, card->words->left_out);
    put_count(card->out, (int64_t)count, card->words->thousands);
    card_put(card, " |\n");
}

/* put_teachers - a row for each model that this one learnt from. */
static void put_teachers(const struct card *card) {
    size_t i;
    json_t *one;
    json_array_foreach(json_find(card->root, "teachers"), i, one) {
        const char *name = card_text_of(one, "name"), *hash = card_text_of(one, "sha256");
        begin_row(card, card->words->teacher);
        put_markdown(card->out, name ? name : card->words->unknown);
        card_put(card, ", SHA-256 ");
        put_markdown(card->out, hash ? hash : card->words->unknown);
        card_put(card, " |\n");
    }
}

/* put_unused - "609,073 / 724,520"; no row where all is used, as in provenance that does not say. */
static void put_unused(const struct card *card) {
    int64_t unused = card_int_of(card->root, "procedure/unused_tokens");
    if (unused <= 0)
        return;
    begin_row(card, card->words->unused);
    put_count(card->out, unused, card->words->thousands);
    card_put(card, " / ");
    put_count(card->out, card_int_of(card->root, "procedure/data_tokens"), card->words->thousands);
    card_put(card, " |\n");
}

static void put_procedure(const struct card *card) {
    const struct card_words *w = card->words;
    card_title(card, w->procedure_title);
    fprintf(card->out, "%s\n|---|---|\n", w->setting_head);
    int_row(card, w->batch, "procedure/batch_sequences");
    int_row(card, w->sequence, "procedure/sequence_tokens");
    text_row(card, w->packing, "procedure/packing");
    put_unused(card);
    if (card_text_of(card->root, "procedure/objective"))
        text_row(card, w->objective, "procedure/objective");
    put_teachers(card);
    text_row(card, w->optimizer, "procedure/optimizer");
    real_row(card, w->rate, "procedure/learning_rate");
    begin_row(card, w->betas);
    card_number(card, card_real_of(card->root, "procedure/beta1"));
    card_put(card, " / ");
    card_number(card, card_real_of(card->root, "procedure/beta2"));
    card_put(card, " |\n");
    real_row(card, w->decay, "procedure/weight_decay");
    real_row(card, w->clip, "procedure/grad_clip");
    text_row(card, w->schedule, "procedure/schedule");
    int_row(card, w->warmup, "procedure/warmup_steps");
    text_row(card, w->compute, "procedure/compute");
    begin_row(card, w->seed);
    put_count(card->out, card_int_of(card->root, "procedure/seed"), "");
    card_put(card, " |\n");
    int_row(card, w->ranks, "site/ranks");
    real_row(card, w->loss_first, "losses/training_first");
    real_row(card, w->loss_last, "losses/training_last");
    put_validation(card);
    put_best(card);
    put_left_out(card);
}

/* --- the draft --- */

/* put_draft - along the template of the European Commission for the public summary of training content; what is not
 * in the provenance is left as a blank. */
static void put_draft(const struct card *card) {
    const struct card_words *w = card->words;
    size_t i;
    json_t *corpus, *corpora = json_find(card->root, "corpora");
    card_title(card, w->draft_title);
    fprintf(card->out, "> %s\n\n%s", w->draft_warning, w->draft_general);
    card_count_item(card, w->draft_tokens, card_int_of(card->root, "progress/tokens"));
    put_new_tokens(card);
    card_begin_item(card, w->trained);
    put_dates(card);
    if (card->base)
        card_text_item(card, w->draft_base, card_text_of(card->base, "name"));
    fprintf(card->out, "\n%s\n", w->draft_sources);
    json_array_foreach(corpora, i, corpus) {
        const char *name = card_text_of(corpus, "name"), *licence = card_text_of(corpus, "licence"),
                   *url = card_text_of(corpus, "url");
        card_put(card, "- ");
        put_markdown(card->out, name ? name : "?");
        card_put(card, " (");
        put_markdown(card->out, licence ? licence : w->unknown);
        card_put(card, url ? ", " : "");
        put_address(card->out, url ? url : "");
        fprintf(card->out, "). %s%s", w->draft_listed, w->colon);
        put_count(card->out, card_int_of(corpus, "tokens_consumed"), w->thousands);
        card_put(card, "\n");
    }
    card_put(card, w->draft_rest);
}

/* The base of a new model is null in the file, and NULL here: most parts ask for that. */
char *card_text(const json_t *provenance, enum card_language language) {
    char *text = NULL;
    size_t length_bytes = 0;
    const json_t *base = json_find(provenance, "base_model");
    struct card card = {open_memstream(&text, &length_bytes), card_words(language), provenance,
                        json_is_object(base) ? base : NULL};
    CHECK(card.out, "out of memory while writing a model card");
    card_front_matter(&card);
    put_title(&card);
    put_what(&card);
    put_use(&card);
    put_data(&card);
    put_procedure(&card);
    card_cost(&card);
    card_title(&card, card.words->limits_title);
    card_put(&card, card.words->limits_text);
    put_draft(&card);
    fclose(card.out);
    return text;
}
