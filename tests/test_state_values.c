/* test_state_values.c - what a run takes from a checkpoint, and what it would write: a value that is no
 * number in the masters or in a moment is refused with part, tensor, count and place; masters are held
 * against the type of the model files.  Control: the same checkpoint before it was damaged. */
#include <math.h>

#include "tests/checkpoint_fixture.h"
#include "tests/patch.h"
#include "train/model/optimizer.h"
#include "train/model/state.h"

static struct device dev;

static void open_params(struct params *params, const struct model_config *config) {
    struct params_setup setup = {
        .model = config, .compute = DTYPE_F32, .optimizer = &optimizer_adamw, .trains = true, .num_ranks = 1};
    params_create(params, &dev, &setup);
}

/* value_at - one value that the fixture put into a part of step 1. */
static float value_at(int part, struct param param, int64_t place) {
    float *values = test_normal(place + 1, value_seed(1, part, param));
    float value = values[place];
    free(values);
    return value;
}

static void test_damaged_state(void **state) {
    (void)state;
    const char *const names[] = {"model", "master", "adam_m", "adam_v"};
    const struct model_config config = small_config(50);
    const struct checkpoint_source source = source_of(&config, NULL);
    struct params params;
    open_params(&params, &config);
    for (int part = PART_MASTER; part < NUM_PARTS; part++) {
        struct err err = {""};
        char *run = test_folder("state-values"), *folder = path_of(run, "step-000001"), wanted[100];
        save(run, &source, 1, 0);
        assert_int_equal(state_load_checkpoint(&params, folder, &err), 0);
        char *file = xasprintf("%s/state/%s.safetensors", folder, names[part]);
        patch_f32(file, value_at(part, param_at(ROLE_GATE, 1), 123), part == PART_MASTER ? NAN : INFINITY);
        patch_f32(file, value_at(part, param_at(ROLE_GATE, 1), 900), -INFINITY);
        snprintf(wanted, sizeof wanted,
                 "/state/%s': tensor 'model.layers.1.mlp.gate_proj.weight' holds 2 values", names[part]);
        assert_int_equal(state_load_checkpoint(&params, folder, &err), -1);
        if (!strstr(err.text, wanted) || !strstr(err.text, "at element 123:"))
            fail_msg("expected '%s', got '%s'", wanted, err.text);
        free(file);
        free(folder);
        drop(run);
    }
    params_free(&params);
}

static void test_masters(void **state) {
    (void)state;
    struct err err = {""};
    const struct model_config config = small_config(50);
    struct params params;
    open_params(&params, &config);
    state_init(&params, 3);
    assert_int_equal(state_check_values(&params, STATE_NOW, DTYPE_F16, &err), 0);
    float *masters = params.units[params.num_units - 1].segments[0].master, before = masters[7];
    masters[7] = -70144;
    assert_int_equal(state_check_values(&params, STATE_NOW, DTYPE_F16, &err), -1);
    assert_non_null(strstr(err.text, "1 value too large for f16, the first (-70144) at element 7"));
    assert_int_equal(state_check_values(&params, STATE_NOW, DTYPE_BF16, &err), 0);
    masters[7] = NAN;
    assert_int_equal(state_check_values(&params, STATE_NOW, DTYPE_F32, &err), -1);
    assert_non_null(strstr(err.text, "not finite"));
    masters[7] = before;
    assert_int_equal(state_check_values(&params, STATE_NOW, DTYPE_F32, &err), 0);
    params_free(&params);
}

int main(void) {
    device_open_cpu(&dev, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged_state),
        cmocka_unit_test(test_masters),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_close(&dev);
    return failed;
}
