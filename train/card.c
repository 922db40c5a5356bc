/* card.c - see card.h.  Each function writes one part of the card, in its order. */
#include "train/card.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/card_escape.h"
#include "train/card_words.h"

enum { MAX_GENERATIONS = 16 }; /* of base models that were trained here */

struct card {
    FILE *out;
    const struct card_words *words;
    const json_t *root; /* provenance */
    const json_t *base; /* base_model, or NULL for a new model */
};

/* --- values --- */

/* text_of - a text that is there and not empty, or NULL. */
static const char *text_of(const json_t *object, const char *key) {
    const char *text;
    return json_get_string(object, key, &text, NULL) == 0 && text[0] ? text : NULL;
}

static int64_t int_of(const json_t *object, const char *key) {
    int64_t value;
    return json_get_int(object, key, &value, NULL) == 0 ? value : 0;
}

/* real_of - NaN where it is not known. */
static double real_of(const json_t *object, const char *key) {
    double value;
    return json_get_double(object, key, &value, NULL) == 0 ? value : NAN;
}

/* hub_dataset - "ORGANISATION/NAME" of an address of the Hugging Face Hub, or NULL. */
static const char *hub_dataset(const char *url) {
    static const char place[] = "https://huggingface.co/datasets/";
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
    if (!url || strncmp(url, place, strlen(place)) != 0)
        return NULL;
    const char *name = url + strlen(place), *slash = strchr(name, '/');
    bool is_name = slash && slash > name && slash[1] && !strchr(slash + 1, '/') && name[strspn(name, allowed)] == '\0';
    return is_name ? name : NULL;
}

/* --- lines --- */

static void put(const struct card *card, const char *text) {
    fputs(text, card->out);
}

static void begin_item(const struct card *card, const char *name) {
    fprintf(card->out, "- %s%s", name, card->words->colon);
}

static void text_item(const struct card *card, const char *name, const char *text) {
    begin_item(card, name);
    if (text)
        put_markdown(card->out, text);
    else
        put(card, card->words->unknown);
    put(card, "\n");
}

static void count_item(const struct card *card, const char *name, int64_t value) {
    begin_item(card, name);
    put_count(card->out, value, card->words->thousands);
    put(card, "\n");
}

static void blank_line(const struct card *card, const char *what) {
    fprintf(card->out, "%s%s\n\n", card->words->blank, what);
}

static void title(const struct card *card, const char *text) {
    fprintf(card->out, "\n## %s\n\n", text);
}

/* --- front matter --- */

static void put_yaml_line(const struct card *card, const char *key, const char *value, const char *comment) {
    fprintf(card->out, "%s: ", key);
    put_yaml(card->out, value);
    if (comment)
        fprintf(card->out, " # %s", comment);
    put(card, "\n");
}

static void put_datasets(const struct card *card) {
    size_t i;
    json_t *corpus, *corpora = json_find(card->root, "corpora");
    bool has_begun = false;
    json_array_foreach(corpora, i, corpus) {
        const char *name = hub_dataset(text_of(corpus, "url"));
        if (!name)
            continue;
        fprintf(card->out, "%s- %s\n", has_begun ? "" : "datasets:\n", name);
        has_begun = true;
    }
}

static void put_emissions(const struct card *card) {
    double kg = real_of(card->root, "cost/co2_kg");
    const char *name = text_of(card->root, "cost/factor/name"), *source = text_of(card->root, "cost/factor/source");
    if (!isfinite(kg))
        return;
    char *text = xasprintf("%s; %s", name ? name : "?", source ? source : "?");
    fprintf(card->out, "co2_eq_emissions:\n  emissions: %.6g # g\n  training_type: %s\n  source: ", 1000 * kg,
            card->base ? "fine-tuning" : "pre-training");
    put_yaml(card->out, text);
    put(card, "\n");
    free(text);
}

static void put_front_matter(const struct card *card) {
    const struct card_words *w = card->words;
    const char *licence = text_of(card->base, "licence"), *repository = text_of(card->base, "repository");
    fprintf(card->out, "---\nlanguage:\n- fr # %s\n", w->yaml_language);
    if (licence)
        put_yaml_line(card, "license", licence, w->yaml_licence_of_base);
    else
        fprintf(card->out, "# %s\n", w->yaml_licence_unknown);
    if (card->base) {
        const char *name = text_of(card->base, "name");
        put_yaml_line(card, "base_model", repository ? repository : name ? name : "unknown",
                      repository ? NULL : w->yaml_name_of_folder);
        put(card, "base_model_relation: finetune\n");
    }
    put_datasets(card);
    put(card, "library_name: transformers\npipeline_tag: text-generation\ntags:\n- atelier\n");
    put_emissions(card);
    fprintf(card->out, "---\n\n<!-- %satelier " ATELIER_VERSION "%s -->\n\n", w->written_by, w->written_by_end);
}

/* --- what it is --- */

static void put_title(const struct card *card) {
    put(card, "# ");
    const char *name = text_of(card->base, "name");
    put(card, card->base ? card->words->title_from_base : card->words->title_new);
    if (card->base)
        put_markdown(card->out, name ? name : card->words->unknown);
    put(card, "\n\n");
    blank_line(card, card->words->blank_purpose);
}

static void put_base(const struct card *card) {
    const struct card_words *w = card->words;
    const char *repository = text_of(card->base, "repository"), *hash = text_of(card->base, "sha256");
    text_item(card, w->base_model, repository ? repository : text_of(card->base, "name"));
    text_item(card, w->base_licence, text_of(card->base, "licence"));
    begin_item(card, w->base_hash);
    if (hash) {
        put_markdown(card->out, hash);
        fprintf(card->out, " (%s)\n", w->base_hash_how);
    } else {
        fprintf(card->out, "%s\n", w->base_hash_unknown);
    }
}

/* put_dates - days only. */
static void put_dates(const struct card *card) {
    const char *started = text_of(card->root, "started"), *updated = text_of(card->root, "updated");
    char day[2][11];
    snprintf(day[0], sizeof day[0], "%s", started ? started : "?");
    snprintf(day[1], sizeof day[1], "%s", updated ? updated : "?");
    put_markdown(card->out, day[0]);
    put(card, " – ");
    put_markdown(card->out, day[1]);
    put(card, "\n");
}

static void put_what(const struct card *card) {
    const struct card_words *w = card->words;
    int64_t step = int_of(card->root, "progress/step"), steps = int_of(card->root, "progress/steps");
    title(card, w->what_title);
    fprintf(card->out, "%s\n\n", card->base ? w->what_from_base : w->what_new);
    begin_item(card, w->parameters);
    put_count(card->out, int_of(card->root, "model/parameters"), w->thousands);
    put(card, " (");
    put_markdown(card->out, text_of(card->root, "model/model_type") ? text_of(card->root, "model/model_type") : "?");
    put(card, ", ");
    put_markdown(card->out, text_of(card->root, "model/dtype") ? text_of(card->root, "model/dtype") : "?");
    put(card, ")\n");
    if (card->base)
        put_base(card);
    begin_item(card, w->trained);
    put_dates(card);
    begin_item(card, w->progress);
    put_count(card->out, step, w->thousands);
    put(card, w->of_steps);
    put_count(card->out, steps, w->thousands);
    put(card, "\n");
    text_item(card, w->program, text_of(card->root, "program"));
    if (step < steps)
        fprintf(card->out, "\n%s\n", w->not_finished);
}

/* --- data --- */

static void put_cell(const struct card *card, int64_t value) {
    put_count(card->out, value, card->words->thousands);
    put(card, " | ");
}

static void put_share(const struct card *card, int64_t part, int64_t whole) {
    put_real(card->out, whole > 0 ? 100.0 * (double)part / (double)whole : 0, card->words->decimal);
    put(card, " % |\n");
}

static void put_corpus(const struct card *card, const json_t *corpus, int64_t all_tokens) {
    const struct card_words *w = card->words;
    const char *name = text_of(corpus, "name"), *licence = text_of(corpus, "licence"), *url = text_of(corpus, "url");
    int64_t consumed = int_of(corpus, "tokens_consumed");
    put(card, "| ");
    put_markdown(card->out, name ? name : "?");
    put(card, " | ");
    if (licence)
        put_markdown(card->out, licence);
    else
        put(card, w->no_licence);
    put(card, " | ");
    if (url)
        put_address(card->out, url);
    else
        put(card, w->no_url);
    put(card, " | ");
    put_cell(card, int_of(corpus, "documents"));
    put_cell(card, int_of(corpus, "tokens"));
    put_cell(card, consumed);
    put_share(card, consumed, all_tokens);
}

/* put_table - the corpora of a provenance. */
static void put_table(const struct card *card, const json_t *provenance) {
    const struct card_words *w = card->words;
    int64_t all_tokens = int_of(provenance, "progress/tokens");
    int64_t others = int_of(provenance, "progress/tokens_not_attributed");
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
    put(card, "\n");
}

/* put_earlier - what base models that were trained here say of their own training, the nearest first. */
static void put_earlier(const struct card *card) {
    const json_t *base = card->base;
    for (int generation = 0; base && generation < MAX_GENERATIONS; generation++) {
        const json_t *earlier = json_find(base, "provenance");
        if (!json_is_object(earlier))
            return;
        fprintf(card->out, "### %s%s", card->words->earlier_title, card->words->colon);
        put_markdown(card->out, text_of(base, "name") ? text_of(base, "name") : "?");
        fprintf(card->out, "\n\n%s\n\n", card->words->earlier_explained);
        put_table(card, earlier);
        base = json_find(earlier, "base_model");
    }
}

static void put_data(const struct card *card) {
    title(card, card->words->data_title);
    put_table(card, card->root);
    fprintf(card->out, "%s\n\n", card->words->data_explained);
    put_earlier(card);
    blank_line(card, card->words->blank_data);
}

/* --- procedure --- */

static void begin_row(const struct card *card, const char *name) {
    fprintf(card->out, "| %s | ", name);
}

static void int_row(const struct card *card, const char *name, const char *key) {
    begin_row(card, name);
    put_count(card->out, int_of(card->root, key), card->words->thousands);
    put(card, " |\n");
}

static void text_row(const struct card *card, const char *name, const char *key) {
    const char *text = text_of(card->root, key);
    begin_row(card, name);
    put_markdown(card->out, text ? text : card->words->unknown);
    put(card, " |\n");
}

/* put_number - a value that may not be known. */
static void put_number(const struct card *card, double value) {
    if (isfinite(value))
        put_real(card->out, value, card->words->decimal);
    else
        put(card, card->words->unknown);
}

static void real_row(const struct card *card, const char *name, const char *key) {
    begin_row(card, name);
    put_number(card, real_of(card->root, key));
    put(card, " |\n");
}

static void put_validation(const struct card *card) {
    const struct card_words *w = card->words;
    double loss = real_of(card->root, "losses/validation_last");
    begin_row(card, w->valid_last);
    put_number(card, loss);
    if (isfinite(loss)) {
        put(card, w->at_step);
        put_count(card->out, int_of(card->root, "losses/validation_step"), w->thousands);
        fprintf(card->out, " (%s ", w->perplexity);
        put_real(card->out, exp(loss), w->decimal);
        put(card, ")");
    }
    put(card, " |\n");
}

static void put_procedure(const struct card *card) {
    const struct card_words *w = card->words;
    title(card, w->procedure_title);
    fprintf(card->out, "%s\n|---|---|\n", w->setting_head);
    int_row(card, w->batch, "procedure/batch_sequences");
    int_row(card, w->sequence, "procedure/sequence_tokens");
    text_row(card, w->packing, "procedure/packing");
    text_row(card, w->optimizer, "procedure/optimizer");
    real_row(card, w->rate, "procedure/learning_rate");
    begin_row(card, w->betas);
    put_number(card, real_of(card->root, "procedure/beta1"));
    put(card, " / ");
    put_number(card, real_of(card->root, "procedure/beta2"));
    put(card, " |\n");
    real_row(card, w->decay, "procedure/weight_decay");
    real_row(card, w->clip, "procedure/grad_clip");
    text_row(card, w->schedule, "procedure/schedule");
    int_row(card, w->warmup, "procedure/warmup_steps");
    text_row(card, w->compute, "procedure/compute");
    begin_row(card, w->seed);
    put_count(card->out, int_of(card->root, "procedure/seed"), "");
    put(card, " |\n");
    int_row(card, w->ranks, "site/ranks");
    real_row(card, w->loss_first, "losses/training_first");
    real_row(card, w->loss_last, "losses/training_last");
    put_validation(card);
}

/* --- cost --- */

static void put_energy(const struct card *card, const json_t *cost) {
    const struct card_words *w = card->words;
    double kwh = real_of(cost, "kwh"), counted = real_of(cost, "counted");
    begin_item(card, w->energy);
    if (!isfinite(kwh)) {
        fprintf(card->out, "%s\n", w->energy_unknown);
        return;
    }
    put_real(card->out, kwh, w->decimal);
    put(card, " kWh (");
    put_real(card->out, 100 * (isfinite(counted) ? counted : 0), w->decimal);
    fprintf(card->out, " %% %s)\n", w->counted);
}

static void put_carbon(const struct card *card, const json_t *cost) {
    const struct card_words *w = card->words;
    double kg = real_of(cost, "co2_kg");
    const json_t *factor = json_find(cost, "factor");
    begin_item(card, w->co2);
    if (isfinite(kg)) {
        put_real(card->out, kg, w->decimal);
        put(card, " kg\n");
    } else {
        fprintf(card->out, "%s\n", w->co2_unknown);
    }
    begin_item(card, w->factor);
    if (!factor) {
        fprintf(card->out, "%s\n", w->unknown);
        return;
    }
    put_number(card, real_of(factor, "grams_co2_per_kwh"));
    put(card, " g/kWh, ");
    put_markdown(card->out, text_of(factor, "name") ? text_of(factor, "name") : w->unknown);
    fprintf(card->out, " (%s", w->factor_source);
    put_markdown(card->out, text_of(factor, "source") ? text_of(factor, "source") : w->unknown);
    put(card, ")\n");
    begin_item(card, w->pue);
    put_number(card, real_of(factor, "pue"));
    put(card, " (");
    put_markdown(card->out, text_of(factor, "pue_source") ? text_of(factor, "pue_source") : w->unknown);
    put(card, ")\n");
}

static void put_place(const struct card *card) {
    const json_t *site = json_find(card->root, "site");
    const char *name = text_of(site, "description") ? text_of(site, "description") : text_of(site, "name");
    int64_t gpus = int_of(site, "gpus"), hosts = int_of(site, "hosts");
    begin_item(card, card->words->place);
    put_markdown(card->out, name ? name : card->words->unknown);
    if (hosts > 0)
        fprintf(card->out, " (machines%s%lld, GPU%s%lld)", card->words->colon, (long long)hosts, card->words->colon,
                (long long)gpus);
    put(card, "\n");
}

static void put_cost(const struct card *card) {
    const struct card_words *w = card->words;
    const json_t *cost = json_find(card->root, "cost");
    title(card, w->cost_title);
    put_place(card);
    if (!json_is_object(cost)) {
        fprintf(card->out, "\n%s\n", w->cost_unknown);
        return;
    }
    begin_item(card, w->gpu_hours);
    put_number(card, real_of(cost, "gpu_hours"));
    put(card, "\n");
    begin_item(card, w->core_hours);
    put_number(card, real_of(cost, "core_hours"));
    put(card, "\n");
    count_item(card, w->starts, int_of(cost, "starts"));
    put_energy(card, cost);
    put_carbon(card, cost);
    fprintf(card->out, "\n%s\n", w->cost_scope);
}

/* --- the draft --- */

static void put_draft(const struct card *card) {
    const struct card_words *w = card->words;
    size_t i;
    json_t *corpus, *corpora = json_find(card->root, "corpora");
    title(card, w->draft_title);
    fprintf(card->out, "> %s\n\n%s", w->draft_warning, w->draft_general);
    count_item(card, w->draft_tokens, int_of(card->root, "progress/tokens"));
    begin_item(card, w->trained);
    put_dates(card);
    if (card->base)
        text_item(card, w->draft_base, text_of(card->base, "name"));
    fprintf(card->out, "\n%s\n", w->draft_sources);
    json_array_foreach(corpora, i, corpus) {
        const char *name = text_of(corpus, "name"), *licence = text_of(corpus, "licence"), *url = text_of(corpus, "url");
        put(card, "- ");
        put_markdown(card->out, name ? name : "?");
        put(card, " (");
        put_markdown(card->out, licence ? licence : w->unknown);
        put(card, url ? ", " : "");
        put_address(card->out, url ? url : "");
        fprintf(card->out, "). %s%s", w->draft_listed, w->colon);
        put_count(card->out, int_of(corpus, "tokens_consumed"), w->thousands);
        put(card, "\n");
    }
    put(card, w->draft_rest);
}

char *card_text(const json_t *provenance, enum card_language language) {
    char *text = NULL;
    size_t length_bytes = 0;
    const json_t *base = json_find(provenance, "base_model");
    struct card card = {open_memstream(&text, &length_bytes), card_words(language), provenance,
                        json_is_object(base) ? base : NULL};
    CHECK(card.out, "out of memory while writing a model card");
    put_front_matter(&card);
    put_title(&card);
    put_what(&card);
    put_data(&card);
    put_procedure(&card);
    put_cost(&card);
    title(&card, card.words->limits_title);
    put(&card, card.words->limits_text);
    put_draft(&card);
    fclose(card.out);
    return text;
}
