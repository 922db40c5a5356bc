/* card_front.c - the front matter of a model card.  Source: Hugging Face Hub documentation, "Model Cards". */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/record/card_parts.h"

/* hub_dataset - "ORGANISATION/NAME" of an address of the Hugging Face Hub, or NULL. */
static const char *hub_dataset(const char *url) {
    static const char place[] = "https://huggingface.co/datasets/";
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
    if (!url || strncmp(url, place, strlen(place)) != 0)
        return NULL;
    const char *name = url + strlen(place), *slash = strchr(name, '/');
    bool is_name =
        slash && slash > name && slash[1] && !strchr(slash + 1, '/') && name[strspn(name, allowed)] == '\0';
    return is_name ? name : NULL;
}

/* put_yaml_line - the comment is ours and is not escaped. */
static void put_yaml_line(const struct card *card, const char *key, const char *value, const char *comment) {
    fprintf(card->out, "%s: ", key);
    put_yaml(card->out, value);
    if (comment)
        fprintf(card->out, " # %s", comment);
    card_put(card, "\n");
}

/* put_datasets - the Hub links the entries of 'datasets' to its own: corpora from elsewhere stand in the table
 * alone. */
static void put_datasets(const struct card *card) {
    size_t i;
    json_t *corpus, *corpora = json_find(card->root, "corpora");
    bool has_begun = false;
    json_array_foreach(corpora, i, corpus) {
        const char *name = hub_dataset(card_text_of(corpus, "url"));
        if (!name)
            continue;
        fprintf(card->out, "%s- %s\n", has_begun ? "" : "datasets:\n", name);
        has_begun = true;
    }
}

/* put_emissions - in grams of CO2 equivalent, as the Hub's documentation of 'co2_eq_emissions' has it. */
static void put_emissions(const struct card *card) {
    double kg = card_real_of(card->root, "cost/co2_kg");
    const char *name = card_text_of(card->root, "cost/factor/name"),
               *source = card_text_of(card->root, "cost/factor/source");
    if (!isfinite(kg))
        return;
    char *text = xasprintf("%s; %s", name ? name : "?", source ? source : "?");
    fprintf(card->out, "co2_eq_emissions:\n  emissions: %.6g # g\n  training_type: %s\n  source: ", 1000 * kg,
            card->base ? "fine-tuning" : "pre-training");
    put_yaml(card->out, text);
    card_put(card, "\n");
    free(text);
}

/* The base model's licence is proposed and marked as such: which one the new model may have depends on the training
 * data, too, and is its author's to say. */
void card_front_matter(const struct card *card) {
    const struct card_words *w = card->words;
    bool is_adapter = json_is_object(json_find(card->root, "model/adapter")) &&
                      !json_is_true(json_find(card->root, "model/adapter/merged"));
    const char *licence = card_text_of(card->base, "licence"),
               *repository = card_text_of(card->base, "repository");
    fprintf(card->out, "---\nlanguage:\n- fr # %s\n", w->yaml_language);
    if (licence)
        put_yaml_line(card, "license", licence, w->yaml_licence_of_base);
    else
        fprintf(card->out, "# %s\n", w->yaml_licence_unknown);
    if (card->base) {
        const char *name = card_text_of(card->base, "name");
        put_yaml_line(card, "base_model",
                      repository ? repository
                      : name     ? name
                                 : "unknown",
                      repository ? NULL : w->yaml_name_of_folder);
        fprintf(card->out, "base_model_relation: %s\n", is_adapter ? "adapter" : "finetune");
    }
    put_datasets(card);
    fprintf(card->out, "library_name: %s\npipeline_tag: %s\ntags:\n- atelier\n%s",
            is_adapter ? "peft" : "transformers",
            card_text_of(card->root, "model/wrapper") ? "image-text-to-text" : "text-generation",
            is_adapter ? "- lora\n" : "");
    put_emissions(card);
    fprintf(card->out, "---\n\n<!-- %satelier " ATELIER_VERSION "%s -->\n\n", w->written_by,
            w->written_by_end);
}
