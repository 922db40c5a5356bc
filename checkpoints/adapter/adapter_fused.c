/* adapter_fused.c - see adapter_fused.h. */
#include "checkpoints/adapter/adapter_fused.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoints/family/family_adapter.h"

static bool is_half_a(struct param half) {
    return half.role == adapter_pair_role(adapter_target_of(half.role), ADAPTER_A);
}

/* parameter_shape - of one expert: gate and up one below the other, or down. */
static struct tensor parameter_shape(const struct model_config *config, struct param half) {
    enum adapter_target target = adapter_target_of(half.role);
    struct tensor shape = adapter_shape(config, target);
    shape.dims[0] *= target == ADAPTER_DOWN ? 1 : 2;
    return shape;
}

/* The wrapper of the parameter that was wrapped first lies within the other's; which that is, its shape tells. */
int64_t adapter_fused_find(const struct st_files *files, const struct model_config *config,
                           struct param half) {
    static const char *const within[] = {"", ".base_layer"};
    enum adapter_target target = adapter_target_of(half.role);
    bool is_a = is_half_a(half);
    if (!role_is_pair(half.role) || role_is_lengths(half.role) || !adapter_is_of_experts(config, target))
        return -1;
    struct tensor whole = parameter_shape(config, half);
    for (size_t i = 0; i < sizeof within / sizeof *within; i++) {
        char a[PARAM_NAME_ROOM], b[PARAM_NAME_ROOM];
        snprintf(a, sizeof a, "base_model.model.model.layers.%d.mlp.experts%s.lora_A.weight", half.layer,
                 within[i]);
        snprintf(b, sizeof b, "base_model.model.model.layers.%d.mlp.experts%s.lora_B.weight", half.layer,
                 within[i]);
        int64_t of_a = st_find(files, a), of_b = st_find(files, b);
        if (of_a >= 0 && of_b >= 0 && st_entry(files, of_a).ndim == 2 && st_entry(files, of_b).ndim == 2 &&
            st_entry(files, of_a).dims[1] == whole.dims[1] && st_entry(files, of_b).dims[0] == whole.dims[0])
            return is_a ? of_a : of_b;
    }
    return -1;
}

bool adapter_is_fused(struct st_entry entry) {
    return strstr(entry.name, ".experts.lora_") || strstr(entry.name, ".experts.base_layer.lora_");
}

const char *adapter_fused_parameter(enum adapter_target target) {
    return target == ADAPTER_DOWN ? "down_proj" : "gate_up_proj";
}

struct tensor adapter_fused_shape(const struct model_config *config, struct param half) {
    int64_t rank = config->adapter.ranks[adapter_target_of(half.role)] * config->num_experts;
    struct tensor whole = parameter_shape(config, half);
    return is_half_a(half) ? tensor_2d(NULL, DTYPE_F32, rank, whole.dims[1])
                           : tensor_2d(NULL, DTYPE_F32, whole.dims[0], rank);
}

/* read_b - whole rows of the tensor, of which one column in E is the expert's. */
static int read_b(const struct st_files *files, const struct model_config *config, struct param half,
                  struct adapter_range range, float *out, struct err *err) {
    int64_t index = adapter_fused_find(files, config, half);
    enum adapter_target target = adapter_target_of(half.role);
    int64_t rank = config->adapter.ranks[target], wide = rank * config->num_experts;
    int64_t row = range.first / rank, end = (range.first + range.count + rank - 1) / rank;
    int64_t skipped = target == ADAPTER_UP ? adapter_shape(config, target).dims[0] : 0;
    float *rows = xmalloc((size_t)((end - row) * wide) * sizeof *rows);
    int status = st_read_f32(files, index, (skipped + row) * wide, (end - row) * wide, rows, err);
    for (int64_t i = 0; status == 0 && i < range.count; i++) {
        int64_t at = range.first + i;
        out[i] = rows[(at / rank - row) * wide + at % rank * config->num_experts + half.expert];
    }
    free(rows);
    return status;
}

int adapter_fused_read(const struct st_files *files, const struct model_config *config, struct param half,
                       struct adapter_range range, float *out, struct err *err) {
    int64_t index = adapter_fused_find(files, config, half);
    int64_t count =
        config->adapter.ranks[adapter_target_of(half.role)] * parameter_shape(config, half).dims[1];
    CHECK(index >= 0, "an adapter has no experts of role %d in layer %d", (int)half.role, half.layer);
    if (range.count == 0)
        return 0;
    if (is_half_a(half))
        return st_read_f32(files, index, half.expert * count + range.first, range.count, out, err);
    return read_b(files, config, half, range, out, err);
}
