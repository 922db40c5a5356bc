/* test_export_glm.c - what of a GLM's files is unlike other families': a correction that stays f32 to the bit in a folder of another type,
 * and layers after the last that predict further tokens, which are left out where config.json names them, and refused otherwise. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/export_fixture.h"

static const char GOLDEN[] = "tests/golden/models/glm4_moe";

static void test_correction(void **state) {
    (void)state;
    struct err err = {""};
    enum { EXPERTS = 8 };
    char *out = in_folder("bf16");
    struct weights *source = open_weights(GOLDEN);
    if (export_hf(source, out, EXPORT_BF16, NULL, &err) != 0)
        fail_msg("%s", err.text);
    struct weights *back = open_weights(out);
    struct st_files *files = st_open(out, &err);
    assert_non_null(files);
    for (int layer = 1; layer < 3; layer++) {
        char name[PARAM_NAME_ROOM];
        const struct param correction = param_at(ROLE_ROUTER_CORRECTION, layer),
                           router = param_at(ROLE_ROUTER, layer);
        float before[EXPERTS], after[EXPERTS];
        param_name(weights_config(source), correction, name);
        assert_int_equal(st_entry(files, st_find(files, name)).dtype, DTYPE_F32);
        assert_int_equal(weights_read(source, correction, 0, EXPERTS, before, &err), 0);
        assert_int_equal(weights_read(back, correction, 0, EXPERTS, after, &err), 0);
        assert_memory_equal(before, after, sizeof before);
        assert_true(rounded(before[0], EXPORT_BF16) != before[0]);
        param_name(weights_config(source), router, name); /* the control: what is not kept so */
        assert_int_equal(st_entry(files, st_find(files, name)).dtype, DTYPE_BF16);
        assert_int_equal(weights_read(source, router, 0, EXPERTS, before, &err), 0);
        assert_int_equal(weights_read(back, router, 0, EXPERTS, after, &err), 0);
        assert_memory_not_equal(before, after, sizeof before);
    }
    st_close(files);
    weights_close(back), weights_close(source);
    free(out);
}

/* open_shorter - the golden model as one of two layers and so many that predict further tokens. */
static struct weights *open_shorter(const char *name, int num_further, struct err *err) {
    struct err none = {""};
    char *at = in_folder(name), *config = xasprintf("%s/config.json", GOLDEN), cwd[1024];
    json_t *root = json_load_path(config, 1 << 20, &none);
    assert_non_null(root);
    json_object_set_new(root, "num_hidden_layers", json_integer(2));
    json_object_set_new(root, "num_nextn_predict_layers", json_integer(num_further));
    char *text = json_dumps(root, 0);
    assert_int_equal(folder_create(at, &none), 0);
    write_text(at, "config.json", text);
    assert_non_null(getcwd(cwd, sizeof cwd));
    char *from = xasprintf("%s/%s/model.safetensors", cwd, GOLDEN),
         *to = xasprintf("%s/model.safetensors", at);
    assert_int_equal(symlink(from, to), 0);
    struct weights *weights = weights_open(at, err);
    json_decref(root);
    free(text), free(config), free(from), free(to), free(at);
    return weights;
}

static void test_further_layers(void **state) {
    (void)state;
    struct err err = {""};
    char *out = in_folder("shorter-hf");
    struct weights *source = open_shorter("shorter", 1, &err);
    if (!source)
        fail_msg("%s", err.text);
    assert_int_equal(weights_config(source)->num_further, 1);
    assert_int_equal(export_hf(source, out, EXPORT_F32, NULL, &err), 0);
    struct weights *back = open_weights(out);
    assert_int_equal(weights_config(back)->num_further, 0); /* config.json says that there is none */
    assert_int_equal(weights_config(back)->num_layers, 2);
    assert_int_equal(num_different(source, back, EXPORT_F32, EXPORT_F32), 0);
    weights_close(back), weights_close(source);
    assert_null(open_shorter("unnamed", 0, &err));
    assert_non_null(strstr(err.text, "is unknown for model_type 'glm4_moe' with 2 layers"));
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_correction),
                                       cmocka_unit_test(test_further_layers)};
    return fixture_run("export_glm", tests);
}
