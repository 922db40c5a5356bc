/* test_conformance.cpp - every wrapper's probe on the host, under every schedule; right bits under all.
 *
 * A plain program that returns 0, or 1 on failures.  With a file name it writes the words of seed 0
 * there, for comparison with a GPU's (conformance.cu).  By hand, with all objects of tests/simt and the
 * probes' (conformance_sm70.cu to conformance_sm90.cu):
 *
 *     g++ -std=c++17 -D_GNU_SOURCE -O2 -fopenmp -ffp-contract=off -fno-math-errno \
 *         -Itests/simt -Itests/simt/include -I. tests/simt/test_conformance.cpp OBJECTS */
#include "conformance.h"
#include "control.h"

/* Negative control: words and floats that are slightly wrong must be noticed. */
static int missed_by_comparison() {
    conformance scratch = {nullptr, 0, 0, true};
    words out(std::vector<uint32_t>{1, 2, 3}), pi(std::vector<uint32_t>{0x40490fdb});
    expect_words(&scratch, "(must fail) a wrong word", out, {1, 2, 4});
    expect_words(&scratch, "(must fail) a missing word", out, {1, 2, 3, 4});
    expect_floats(&scratch, "(must fail) 4 ulp off", pi, {float_of(0x40490fdf)}, 3);
    expect_floats(&scratch, "(must fail) NaN", pi, {NAN}, 3);
    return 4 - scratch.num_failed;
}

int main(int argc, char **argv) {
    conformance run = {argc > 1 ? fopen(argv[1], "w") : nullptr, 0, 0, false};
    for (uint32_t seed = 0; seed < simt::NUM_SEEDS; seed++) {
        simt::set_seed(seed);
        probe_sm70(&run);
        probe_sm89(&run);
        probe_sm80(&run);
        probe_sm90(&run);
        if (run.dump)
            fclose(run.dump);
        run.dump = nullptr;
        run.quiet = true;
    }
    int num_missed = missed_by_comparison();
    printf("%d probes, %d failed, %d wrong words not noticed\n", run.num_probes, run.num_failed, num_missed);
    return run.num_failed != 0 || num_missed != 0;
}
