/* provenance.c - what earlier starts left, what this one adds, and the text of both together. */
#include "train/record/provenance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "checkpoints/files.h"
#include "kernels/units.h"
#include "train/model/adapter_setup.h"
#include "train/model/objective.h"
#include "train/model/optimizer.h"
#include "train/record/metrics_summary.h"

/* put_text - null for NULL; bytes that are not UTF-8, as in a path, are told in a form that JSON takes. */
static void put_text(json_t *object, const char *key, const char *text) {
    json_object_set_new(object, key, text ? provenance_string(text) : json_null());
}

static void put_int(json_t *object, const char *key, int64_t value) {
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

/* put_real - null for what JSON has no number for. */
static void put_real(json_t *object, const char *key, double value) {
    json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null());
}

static void now_text(char text[32]) {
    struct tm parts;
    time_t now = time(NULL);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
}

/* --- opening --- */

/* take_earlier - from the checkpoint of an earlier start. */
static int take_earlier(struct provenance *p, const struct provenance_setup *setup, struct err *err) {
    const char *started;
    int64_t tokens = 0;
    json_t *root = provenance_load(setup->resumed_from, err);
    if (!root)
        return -1;
    json_get_int(root, "progress/tokens", &tokens, NULL); /* all were checked */
    json_get_int(root, "progress/tokens_not_attributed", &p->tokens_not_attributed, NULL);
    p->base = json_incref(json_object_get(root, "base_model"));
    p->corpora = json_incref(json_object_get(root, "corpora"));
    p->teachers = json_incref(json_object_get(root, "teachers"));
    if (json_get_string_or(root, "started", p->started, &started, NULL) == 0 && started != p->started) {
        free(p->started);
        p->started = xstrdup(started);
    }
    json_decref(root);
    if (tokens != setup->tokens_seen)
        return err_set(err, "'%s': provenance.json tells of %lld tokens, training.json of %lld",
                       setup->resumed_from, (long long)tokens, (long long)setup->tokens_seen);
    return 0;
}

/* take_unknown - the checkpoint is of a version that kept no provenance: its tokens belong to no corpus, and
 * what the base model was then can no longer be told by looking at it now. */
static void take_unknown(struct provenance *p, const struct provenance_setup *setup) {
    p->corpora = json_array();
    p->tokens_not_attributed = setup->tokens_seen;
    p->base = json_null();
    if (setup->base_path) {
        p->base = json_object();
        put_text(p->base, "path", setup->base_path);
        put_text(p->base, "name", setup->base_path);
        put_text(p->base, "sha256", NULL);
    }
}

/* open_resumed - the root's part: nothing is hashed again, the base model may be gone by now. */
static int open_resumed(struct provenance *p, const struct provenance_setup *setup, struct err *err) {
    char *path = xasprintf("%s/provenance.json", setup->resumed_from);
    bool is_there = path_exists(path);
    free(path);
    if (is_there)
        return take_earlier(p, setup, err);
    take_unknown(p, setup);
    return 0;
}

/* The base model is hashed once in a run: a checkpoint carries what the first start found. */
bool provenance_open(struct provenance *p, struct comm *comm, const struct provenance_setup *setup) {
    char now[32];
    struct err err = {""};
    memset(p, 0, sizeof *p);
    now_text(now);
    p->started = xstrdup(now);
    if (!setup->resumed_from) {
        p->corpora = json_array();
        return provenance_base(&p->base, comm, setup->source, setup->base_path);
    }
    int status = comm_is_root(comm) ? open_resumed(p, setup, &err) : 0;
    if (status)
        err_prefix(&err, "cannot resume");
    return comm_all_ok(comm, status, &err);
}

void provenance_close(struct provenance *p) {
    json_decref(p->base);
    json_decref(p->corpora);
    json_decref(p->teachers);
    free(p->started);
    memset(p, 0, sizeof *p);
}

/* --- writing --- */

/* same_corpus - of one name and licence, read from the same bytes.  Token files may share a corpus, and a
 * later start may read it from another token file. */
static bool same_corpus(const json_t *entry, const struct token_source *source) {
    const char *const texts[][2] = {{"name", source->name},
                                    {"licence", source->licence},
                                    {"url", source->url},
                                    {"sha256", source->sha256}};
    bool same = true;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && same; i++) {
        json_t *text = provenance_string(texts[i][1]);
        same = json_equal(json_object_get(entry, texts[i][0]), text);
        json_decref(text);
    }
    return same;
}

/* find_corpus - the entry of a source, or NULL; borrowed. */
static json_t *find_corpus(const json_t *corpora, const struct token_source *source) {
    size_t i;
    json_t *entry;
    json_array_foreach(corpora, i, entry) if (same_corpus(entry, source)) return entry;
    return NULL;
}

/* add_to - a counter of an entry. */
static void add_to(json_t *entry, const char *key, int64_t count) {
    int64_t before = 0;
    json_get_int(entry, key, &before, NULL);
    put_int(entry, key, before + count);
}

/* new_corpus - an entry of which nothing was consumed yet; borrowed. */
static json_t *new_corpus(json_t *corpora, const struct token_source *source) {
    json_t *entry = json_object();
    put_text(entry, "name", source->name);
    put_text(entry, "licence", source->licence);
    put_text(entry, "url", source->url);
    put_text(entry, "sha256", source->sha256);
    put_int(entry, "documents", 0);
    put_int(entry, "tokens", 0);
    put_int(entry, "tokens_consumed", 0);
    json_array_append_new(corpora, entry);
    return entry;
}

/* all_corpora - those of earlier starts and of this one, each once.  Documents and tokens are what the token
 * files of this start hold of it; a corpus that this start does not read keeps what was said of it. */
static json_t *all_corpora(const json_t *earlier, const struct loader *loader, const int64_t *source_tokens) {
    json_t *corpora = json_deep_copy(earlier);
    int64_t num_sources = loader_num_sources(loader);
    for (int64_t s = 0; s < num_sources; s++) {
        json_t *entry = find_corpus(corpora, loader_source(loader, s));
        if (!entry)
            continue;
        put_int(entry, "documents", 0);
        put_int(entry, "tokens", 0);
    }
    for (int64_t s = 0; s < num_sources; s++) {
        const struct token_source *source = loader_source(loader, s);
        json_t *entry = find_corpus(corpora, source);
        if (!entry)
            entry = new_corpus(corpora, source);
        add_to(entry, "documents", source->num_documents);
        add_to(entry, "tokens", source->num_tokens);
        add_to(entry, "tokens_consumed", source_tokens[s]);
    }
    return corpora;
}

/* sum_consumed - over all corpora: it must give the run's own count, or some token belongs to none. */
static int64_t sum_consumed(const json_t *corpora) {
    int64_t sum = 0, count = 0;
    size_t i;
    json_t *entry;
    json_array_foreach(corpora, i, entry) {
        json_get_int(entry, "tokens_consumed", &count, NULL);
        sum += count;
    }
    return sum;
}

/* losses_json - those of all starts, as metrics.jsonl has them; the best validation is not among them: it is not this state's. */
static json_t *losses_json(const struct run_totals *totals) {
    json_t *losses = json_object();
    if (!totals)
        return losses;
    put_real(losses, "training_first", totals->first_loss);
    put_real(losses, "training_last", totals->last_loss);
    if (totals->num_validations == 0)
        return losses;
    put_real(losses, "validation_first", totals->first_valid_loss);
    put_real(losses, "validation_last", totals->last_valid_loss);
    put_int(losses, "validation_step", totals->last_valid_step);
    return losses;
}

/* site_json - where this start computes; earlier ones may have been elsewhere, their cost is in the ledger. */
static json_t *site_json(const struct provenance_facts *facts) {
    const struct accounts *accounts = facts->accounts;
    json_t *site = json_object();
    put_text(site, "name", accounts->site.name);
    put_text(site, "description", accounts->site.description);
    put_text(site, "device", facts->device);
    put_int(site, "ranks", facts->num_ranks);
    if (!accounts->keeps)
        return site;
    const struct ledger_entry *now = &accounts->ledger.entries[accounts->ledger.num_entries - 1];
    put_int(site, "gpus", now->gpus);
    put_int(site, "hosts", now->hosts);
    put_int(site, "cores", now->cores);
    return site;
}

/* factor_json - as used, with its sources: whoever reads the figure can judge it, and compute it anew. */
static json_t *factor_json(const struct carbon_factor *factor) {
    json_t *object = json_object();
    put_real(object, "grams_co2_per_kwh", factor->grams_per_kwh);
    put_text(object, "name", factor->name);
    put_text(object, "source", factor->source);
    put_real(object, "pue", factor->pue > 0 ? factor->pue : 1);
    put_text(object, "pue_source", factor->pue > 0 ? factor->pue_source : "not known, 1 assumed");
    return object;
}

/* cost_json - from the ledger: all starts, those whose work was lost too.  Energy that no counter told is
 * null. */
static json_t *cost_json(const struct accounts *accounts) {
    if (!accounts->keeps)
        return json_null();
    struct ledger_totals totals = ledger_totals(&accounts->ledger);
    struct carbon_factor factor = site_carbon(&accounts->site);
    double pue = factor.pue > 0 ? factor.pue : 1;
    bool has_energy = totals.counted > 0, has_factor = factor.grams_per_kwh > 0;
    json_t *cost = json_object();
    put_int(cost, "starts", totals.num_entries);
    put_real(cost, "hours", totals.hours);
    put_real(cost, "gpu_hours", totals.gpu_hours);
    put_real(cost, "core_hours", totals.core_hours);
    put_real(cost, "kwh", has_energy ? totals.kwh : NAN);
    put_real(cost, "counted", totals.counted);
    put_real(cost, "co2_kg",
             has_energy && has_factor ? KG_PER_GRAM * totals.kwh * pue * factor.grams_per_kwh : NAN);
    json_object_set_new(cost, "factor", has_factor ? factor_json(&factor) : json_null());
    return cost;
}

/* adapter_json - of the pairs that are trained: their number, and what servers ask for; the largest of ranks that differ. */
static json_t *adapter_json(const struct model_config *config, const struct config *run_file) {
    json_t *adapter = json_object();
    char whole[64];
    int64_t rank = 0;
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        rank = config->adapter.ranks[t] > rank ? config->adapter.ranks[t] : rank;
    put_text(adapter, "method", adapter_method_word(config->adapter.method));
    put_int(adapter, "rank", rank);
    put_int(adapter, "parameters", model_num_trained(config));
    if (run_file->adapter.base != BASE_COMPUTE)
        put_text(adapter, "base", adapter_base_word(run_file->adapter.base));
    if (config->adapter.whole)
        put_text(adapter, "whole", adapter_whole_text(&config->adapter, whole, sizeof whole));
    if (!adapter_is_served(&config->adapter))
        json_object_set_new(adapter, "served_merged_alone", json_true());
    return adapter;
}

/* put_new_tokens - the texts that the run file added to the tokenizer. */
static void put_new_tokens(json_t *model, const struct config *run_file) {
    int count;
    struct new_token *tokens = config_new_tokens(run_file, &count);
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, provenance_string(tokens[i].text));
    if (count > 0)
        json_object_set(model, "added_tokens", list);
    json_decref(list);
    free(tokens);
}

static json_t *model_json(const struct model_config *config, const struct config *run_file) {
    json_t *model = json_object();
    put_text(model, "model_type", config->model_type);
    if (config->wrapper_type[0])
        put_text(model, "wrapper", config->wrapper_type);
    put_int(model, "parameters", model_num_parameters(config));
    put_text(model, "dtype", dtype_name(model_saved_type(config)));
    if (model_has_adapter(config))
        json_object_set_new(model, "adapter", adapter_json(config, run_file));
    put_new_tokens(model, run_file);
    return model;
}

/* packing_text - of all files; where auto chose both, both. */
static const char *packing_text(const struct loader *loader) {
    int num_whole = 0, num_files = loader_num_files(loader);
    for (int i = 0; i < num_files; i++)
        num_whole += loader_packing(loader, i) == PACKING_WHOLE;
    return num_whole == num_files ? "whole" : num_whole == 0 ? "stream" : "whole, stream";
}

/* put_unused - what documents packed whole lose, in each pass through the data; nothing where they lose nothing. */
static void put_unused(json_t *procedure, const struct loader *loader) {
    int64_t num_longer = 0;
    for (int i = 0; i < loader_num_files(loader); i++)
        num_longer += loader_packing(loader, i) == PACKING_WHOLE ? loader_num_longer(loader, i) : 0;
    if (loader_num_cut_tokens(loader) == 0)
        return;
    put_int(procedure, "longer_documents", num_longer);
    put_int(procedure, "unused_tokens", loader_num_cut_tokens(loader));
    put_int(procedure, "data_tokens", loader_num_tokens(loader));
}

/* procedure_json - what a reader of the model card wants to know of the training; the whole run file stands beside it. */
static json_t *procedure_json(const struct config *config, const struct loader *loader) {
    static const char *const schedules[] = {[SCHEDULE_CONSTANT] = "constant",
                                            [SCHEDULE_LINEAR] = "linear",
                                            [SCHEDULE_COSINE] = "cosine",
                                            [SCHEDULE_WSD] = "wsd"};
    char compute[COMPUTE_TEXT_ROOM];
    json_t *procedure = json_object();
    put_int(procedure, "batch_sequences", config->train.batch_sequences);
    put_int(procedure, "sequence_tokens", config->data.sequence_tokens);
    put_text(procedure, "packing", packing_text(loader));
    put_unused(procedure, loader);
    if (config->objective.kind !=
        OBJECTIVE_SFT) /* other models are of the mean over target tokens, as they always were */
        put_text(procedure, "objective", objective_kind(config->objective.kind)->name);
    put_text(procedure, "optimizer", optimizer_kind(config->optimizer.kind)->name);
    put_real(procedure, "learning_rate", config->optimizer.learning_rate);
    put_real(procedure, "beta1", config->optimizer.beta1);
    put_real(procedure, "beta2", config->optimizer.beta2);
    if (config->optimizer.kind == OPTIMIZER_MUON)
        put_real(procedure, "momentum", config->optimizer.momentum);
    put_real(procedure, "weight_decay", config->optimizer.weight_decay);
    put_real(procedure, "grad_clip", config->train.grad_clip);
    put_text(procedure, "schedule", schedules[config->schedule.kind]);
    put_int(procedure, "warmup_steps", config->schedule.warmup_steps);
    put_text(procedure, "compute", config_compute_text(config, compute, sizeof compute));
    put_int(procedure, "seed", config->run.seed);
    return procedure;
}

/* has_teacher - whether a list has the same one already. */
static bool has_teacher(const json_t *list, const json_t *teacher) {
    size_t i;
    json_t *one;
    json_array_foreach(list, i, one) if (json_equal(one, teacher)) return true;
    return false;
}

/* all_teachers - those of earlier starts and of this one, each once; NULL where there are none. */
static json_t *all_teachers(const json_t *earlier, const struct loader *loader) {
    json_t *list = json_is_array(earlier) ? json_deep_copy(earlier) : json_array();
    for (int file = 0; file < loader_num_files(loader); file++) {
        const struct teacher *teacher = loader_teacher(loader, file);
        if (!teacher)
            continue;
        const struct teacher_facts *facts = teacher_facts(teacher);
        json_t *one = json_object();
        json_object_set_new(one, "name", facts->name[0] ? provenance_string(facts->name) : json_null());
        put_text(one, "sha256", facts->model);
        put_int(one, "top_k", facts->top_k);
        put_real(one, "temperature", facts->temperature);
        if (!has_teacher(list, one))
            json_array_append(list, one);
        json_decref(one);
    }
    if (json_array_size(list) > 0)
        return list;
    json_decref(list);
    return NULL;
}

/* progress_json - what has not happened has no key. */
static json_t *progress_json(const struct provenance *p, const struct provenance_facts *facts) {
    json_t *progress = json_object();
    put_int(progress, "step", facts->step);
    put_int(progress, "steps", facts->config->train.steps);
    put_int(progress, "tokens", facts->tokens_seen);
    put_int(progress, "tokens_not_attributed", p->tokens_not_attributed);
    put_int(progress, "updates", facts->updates);
    if (facts->diverged_since > 0)
        put_int(progress, "diverged_since", facts->diverged_since);
    json_t *before = divergence_past_json(&facts->diverged_before);
    if (before)
        json_object_set_new(progress, "diverged_before", before);
    if (facts->still_since > 0)
        put_int(progress, "still_since", facts->still_since);
    json_t *left_out = facts->left_out ? left_out_json(facts->left_out) : NULL;
    if (left_out)
        json_object_set_new(progress, "left_out", left_out);
    json_t *best = best_json(&facts->best);
    if (best)
        json_object_set_new(progress, "best", best);
    return progress;
}

/* The sum is CHECKed before anything is written: a token that no corpus accounts for is our own mistake. */
json_t *provenance_json(const struct provenance *p, const struct provenance_facts *facts) {
    char now[32];
    json_t *root = json_object();
    json_t *corpora = all_corpora(p->corpora, facts->loader, facts->source_tokens);
    int64_t consumed = sum_consumed(corpora);
    CHECK(consumed + p->tokens_not_attributed == facts->tokens_seen, "corpora of %lld tokens, a run of %lld",
          (long long)consumed, (long long)facts->tokens_seen);
    now_text(now);
    put_text(root, "format", PROVENANCE_FORMAT);
    put_text(root, "program", "atelier " ATELIER_VERSION);
    put_text(root, "started", p->started);
    put_text(root, "updated", now);
    json_object_set(root, "base_model", p->base);
    json_object_set_new(root, "model", model_json(facts->model, facts->config));
    json_object_set_new(root, "progress", progress_json(p, facts));
    json_object_set_new(root, "corpora", corpora);
    json_t *teachers = all_teachers(p->teachers, facts->loader);
    if (teachers)
        json_object_set_new(root, "teachers", teachers);
    json_object_set_new(root, "procedure", procedure_json(facts->config, facts->loader));
    json_object_set_new(root, "losses", losses_json(facts->totals));
    json_object_set_new(root, "site", site_json(facts));
    json_object_set_new(root, "cost", cost_json(facts->accounts));
    put_text(root, "config", facts->config->text ? facts->config->text : "");
    return root;
}
