/* test_product_rates.c - how fast products are taken to be: squares as others measured them (pranjalssh/fast.cu, README: cuBLAS on one H100,
 * random numbers), matrices that ranks divide against the same counted by hand, and what must not change: a machine of which no
 * width is known, and experts' own kernels. */
#include "tests/check.h"

#include <math.h>
#include <string.h>

#include "train/plan/product_rates.h"

static const double PEAK = 989e12;

/* model_of - a width, with heads and feed-forward as wide as given. */
static struct model_config model_of(int64_t width, int heads, int64_t ffn_width) {
    return (struct model_config){.model_type = "llama",
                                 .width = width,
                                 .ffn_width = ffn_width,
                                 .vocab_size = 128000,
                                 .max_positions = 16384,
                                 .num_layers = 8,
                                 .num_heads = heads,
                                 .num_kv_heads = heads / 4,
                                 .head_dim = 128,
                                 .norm_eps = 1e-5f,
                                 .rope_theta = 500000.0};
}

static struct machine h100(void) {
    const struct gpu_rates *rates = gpu_rates_of("H100 SXM5");
    return (struct machine){.flops_per_s = rates->products * PEAK,
                            .half_width = rates->half_width,
                            .attention_128_flops_per_s = rates->attention_128 * PEAK,
                            .experts_flops_per_s = rates->experts * PEAK,
                            .on_gpu = true};
}

/* share_of - of the peak, by products that read so many rows, their matrices divided by so many ranks. */
static double share_of(const struct machine *machine, const struct model_config *model, int64_t rows,
                       int num_ranks) {
    static const char RUN[] = "model: {tokenizer: tokenizer.json}\n"
                              "data: {train: train.h5, sequence_tokens: 16}\n";
    struct config config;
    struct err err = {""};
    if (config_load_text(&config, RUN, strlen(RUN), "run.yaml", NULL, 0, &err) != 0)
        fail_msg("%s", err.text);
    const struct model_figures figures = figures_count(&config, model);
    const struct layout layout = {
        .model = {.config = model, .max_tokens = rows, .num_context = 1, .tensor = {num_ranks, 0}}};
    const struct product_rates rates = product_rates_make(machine, &figures, &layout);
    assert_true(rates.rows == (double)rows);
    double share = product_rates_of_all(&rates) / PEAK;
    config_free(&config);
    return share;
}

static void test_squares(void **state) {
    (void)state;
    static const struct {
        int64_t size;
        double tflops;
    } MEASURED[] = {{8192, 798}, {6144, 741}, {4096, 716}};
    struct machine machine = h100();
    for (size_t i = 0; i < sizeof MEASURED / sizeof *MEASURED; i++) {
        int64_t n = MEASURED[i].size;
        struct model_config model = model_of(n, (int)(n / 128), n);
        double said = share_of(&machine, &model, n, 1) * PEAK / 1e12;
        print_message("%lld: %.0f, measured %.0f\n", (long long)n, said, MEASURED[i].tflops);
        assert_true(fabs(said / MEASURED[i].tflops - 1) < 0.045);
    }
}

/* g - of the rate without end, at a side. */
static double g(double side) {
    return side / (side + 420);
}

/* Four ranks of an 8B: queries, keys and values 6144 / 4, output 4096 / 4, gate and up 28672 / 4, down 14336 / 4; the rest whole.  The
 * control: as many rows of whole matrices are faster. */
static void test_divided(void **state) {
    (void)state;
    struct machine machine = h100();
    struct model_config model = model_of(4096, 32, 14336);
    const double width = 4096, kinds[][2] = {{6144, 1536}, {4096, 1024}, {28672, 4096}, {14336, 3584}};
    double values = 128000 * width, time = values / g(width);
    for (int i = 0; i < 4; i++) {
        values += 8 * width * kinds[i][0];
        time += 8 * width * kinds[i][0] / sqrt(g(width) * g(kinds[i][1]));
    }
    double full = 8192 / (8192 + 512.0) * g(8192);
    double want = machine.flops_per_s / PEAK * (16384 / (16384 + 512.0)) * (values / time) / full;
    double whole = share_of(&machine, &model, 16384, 1), two = share_of(&machine, &model, 16384, 2),
           four = share_of(&machine, &model, 16384, 4);
    assert_true(fabs(four / want - 1) < 1e-9);
    assert_true(four < two && two < whole && four > 0.9 * whole);
    assert_true(fabs(whole / want - 1) > 0.005);
}

/* Where no width is known all matrices are alike; fewer rows are not. */
static void test_no_width(void **state) {
    (void)state;
    struct machine machine = h100();
    struct model_config model = model_of(4096, 32, 14336);
    machine.half_width = 0;
    assert_true(share_of(&machine, &model, 4096, 4) == share_of(&machine, &model, 4096, 1));
    assert_true(share_of(&machine, &model, 1024, 1) < share_of(&machine, &model, 4096, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_squares),
        cmocka_unit_test(test_divided),
        cmocka_unit_test(test_no_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
