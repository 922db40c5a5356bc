/* hints.c - what is said of adapters, of routers and of positions in a plan.
 * Sources: vLLM, --max-lora-rank, whose default is 16, vllm/lora/peft_helper.py, which refuses modules_to_save and DoRA, and
 * vllm/lora/layers/fused_moe.py, which older ones lack and which has no expert parallelism; "LoRA
 * Without Regret" (Thinking Machines, 2025): ten times the learning rate of
 * full fine-tuning, and a loss that grows with batches above 32 more than full fine-tuning's.  transformers, longrope_frequency_update
 * in modeling_rope_utils.py: by the highest position of a batch; llama.cpp, get_rope_factors in src/llama-model.cpp: by the
 * context that was asked for, whatever the text. */
#include "train/plan/hints.h"

#include <math.h>
#include <stdio.h>

#include "checkpoints/family/family_adapter.h"
#include "train/plan/layout.h"

/* What servers take without being told; what is usual. */
enum { SERVED_RANK = 16, LARGE_BATCH = 32 };
static const double LOW_RATE = 5e-5;

static int64_t largest_rank(const struct adapter *adapter) {
    int64_t most = 0;
    for (int t = 0; t < ADAPTER_TARGET_COUNT; t++)
        most = adapter->ranks[t] > most ? adapter->ranks[t] : most;
    return most;
}

const char *hint_positions(const struct config *config, const struct model_config *model,
                           char text[HINT_ROOM]) {
    long long most = model->rope_original_positions;
    text[0] = '\0';
    if (model->rope_kind == ROPE_LONG && config->data.sequence_tokens > most)
        snprintf(
            text, HINT_ROOM,
            "data.sequence_tokens %lld: beyond %lld, longrope's long_factor turns all documents, short ones "
            "too, as llama.cpp does in a long context; transformers turns a document of up to %lld alone by "
            "short_factor, as a run with data.sequence_tokens %lld does",
            (long long)config->data.sequence_tokens, most, most, most);
    return text;
}

const char *hint_routers(const struct config *config, const struct model_config *model,
                         char text[HINT_ROOM]) {
    double taken = layout_router(config, model).balance;
    bool is_said = !isnan(config->objective.load_balance);
    text[0] = '\0';
    if (model->num_experts == 0)
        return text;
    if (family_routes_by_sigmoid(model))
        snprintf(
            text, HINT_ROOM,
            "the routers' correction (e_score_correction_bias) is kept as it is: nothing but the loss moves what they "
            "choose");
    else if (is_said)
        snprintf(
            text, HINT_ROOM,
            "the load-balance loss of the routers is added %g times, as objective.load_balance says; the model's "
            "config.json would add it %g times",
            taken, model->adds_router_loss ? model->router_loss : 0.0);
    else if (model->adds_router_loss)
        snprintf(text, HINT_ROOM,
                 "the load-balance loss of the routers is added %g times, as the model's config.json says "
                 "(router_aux_loss_coef, output_router_logits); objective.load_balance: 0 trains without it",
                 taken);
    else
        snprintf(
            text, HINT_ROOM,
            "the load-balance loss of the routers is measured and not added, as the model's config.json says "
            "(output_router_logits is not true); objective.load_balance: %g adds it",
            model->router_loss);
    return text;
}

const char *hint_wire(const struct config *config, const struct grid *grid, int ranks_per_node,
                      char text[HINT_ROOM]) {
    int num_replicas = grid->axes[AXIS_REPLICA].size;
    text[0] = '\0';
    if (config->parallel.wire != WIRE_INT8 || !grid_axis_is_local(grid, AXIS_REPLICA, ranks_per_node))
        return text;
    if (num_replicas == 1)
        snprintf(
            text, HINT_ROOM,
            "parallel.wire int8: there is one replica, and no gradients cross between replicas; leave it out, "
            "or give parallel.replicas a larger number");
    else
        snprintf(
            text, HINT_ROOM,
            "parallel.wire int8: the %d replicas are on one node, whose own links gain little by 8 bits, which "
            "cost roundings and 4 bytes a value; leave it out%s",
            num_replicas,
            grid_num_ranks(grid) > ranks_per_node ? ", or give a replica to each node (parallel.replicas: 0)"
                                                  : "");
    return text;
}

const char *hint_gathers(double tokens_per_s, double by_engines_per_s, char text[HINT_ROOM]) {
    text[0] = '\0';
    if (by_engines_per_s > 0)
        snprintf(
            text, HINT_ROOM,
            "where NCCL 2.28.3 or later and the driver let copy engines gather weights, %.0f tokens/s in "
            "place of %.0f, as predicted (parallel.gathers); the run's log says whether they do",
            by_engines_per_s, tokens_per_s);
    return text;
}

/* offers_experts - whether the model's experts could have pairs. */
static bool offers_experts(const struct model_config *model) {
    return adapter_is_of_experts(model, ADAPTER_DOWN) && adapter_limit(model, ADAPTER_DOWN) > 0;
}

const char *hint_pairs(const struct model_config *model, char text[HINT_ROOM]) {
    text[0] = '\0';
    if (!model_has_adapter(model) || model->num_experts == 0)
        return text;
    snprintf(
        text, HINT_ROOM, "%s",
        adapter_has_experts(model)
            ? "pairs are on experts as well: vLLM serves those of attention, and those of experts where its "
              "version has them and experts are not spread over GPUs; peft loads the checkpoint as it is, and "
              "merged (--to hf, --to gguf) it is served by all"
        : offers_experts(model)
            ? "pairs are on attention alone, which vLLM serves as it is: experts and routers have none; "
              "adapter.targets: all-linear gives experts some"
            : "pairs are on attention alone, which vLLM serves as it is: experts and routers have none");
    return text;
}

bool plan_served_hint(const struct model_config *model, char hint[HINT_ROOM]) {
    char whole[64];
    bool is_dora = model->adapter.method == ADAPTER_DORA;
    if (!model_has_adapter(model) || adapter_is_served(&model->adapter))
        return false;
    snprintf(
        hint, HINT_ROOM,
        "%s%s%s%s: vLLM and llama.cpp take no such adapter: export it merged, --to hf or --to gguf; peft loads the "
        "checkpoint as it is",
        is_dora ? "DoRA" : "", is_dora && model->adapter.whole ? ", " : "",
        adapter_whole_text(&model->adapter, whole, sizeof whole),
        model->adapter.whole ? " trained whole (modules_to_save)" : "");
    return true;
}

int plan_hints(const struct config *config, const struct model_config *model,
               char hints[MAX_HINTS][HINT_ROOM]) {
    int count = 0;
    int64_t rank = largest_rank(&model->adapter);
    if (hint_positions(config, model, hints[count])[0])
        count++;
    if (hint_routers(config, model, hints[count])[0])
        count++;
    if (!model_has_adapter(model))
        return count;
    if (hint_pairs(model, hints[count])[0])
        count++;
    if (rank > SERVED_RANK)
        snprintf(hints[count++], HINT_ROOM,
                 "rank %lld: vLLM serves up to %d unless it is started with --max-lora-rank", (long long)rank,
                 SERVED_RANK);
    if (config->optimizer.learning_rate < LOW_RATE)
        snprintf(
            hints[count++], HINT_ROOM,
            "optimizer.learning_rate %g: an adapter wants about ten times that of full fine-tuning, 2e-4 is usual",
            config->optimizer.learning_rate);
    if (config->train.batch_sequences >= LARGE_BATCH)
        snprintf(
            hints[count++], HINT_ROOM,
            "train.batch_sequences %lld: adapters lose more by large batches than full fine-tuning does; below %d is usual",
            (long long)config->train.batch_sequences, LARGE_BATCH);
    count += plan_served_hint(model, hints[count]);
    return count;
}
