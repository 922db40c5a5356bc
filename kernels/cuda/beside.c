/* beside.c - which transfers run beside the next product, by an account of what was given to the GPU.
 *
 * A product that is chosen for all multiprocessors while NCCL occupies some needs a second wave for its last tiles; one that is
 * chosen for fewer wastes them when no transfer runs.  Whether one does run cannot be asked when a product is given to the GPU,
 * which is long before it starts, and the answer would differ from run to run, and with it the algorithm and the last bits.  So
 * the account goes by the order of the calls alone: a transfer begins after the products that were given before its start, lasts
 * as long as its bytes do at a usual rate, and is over at its wait at the latest.  Products count down what is left of it, at
 * the rates below.  What else the GPU computes is not counted: transfers seem a little longer for that, which costs less than a
 * product that meets one unexpectedly.  One that copy engines make takes no multiprocessor from a product, and some of the links
 * from a transfer of the other lane, which lasts longer for it. */
#include <string.h>

#include "kernels/cuda/linear.h"

/* What one multiprocessor does in a large product: 265 TFLOP/s of an A100's 108, 750 of an H200's 132, as measured by others
 * (stas00/ml-engineering); of f32 without tensor cores, the makers' peaks. */
static const double FLOPS_SM80 = 2.45e12, FLOPS_SM90 = 5.7e12, FLOPS_F32_SM80 = 0.18e12,
                    FLOPS_F32_SM90 = 0.5e12;

/* In 8 bits: 1453 of an H200 by the same source. */
static const double FP8_GAIN = 1.9;

/* Two lanes share the links, which one alone does not fill: of the time that passes each has this part. */
static const double SHARE_OF_TWO = 0.75;

/* num_moving - lanes with a transfer under way.  num_busy - those of which it occupies multiprocessors. */
static int num_moving(const struct beside *beside) {
    int num = 0;
    for (int lane = 0; lane < CUDA_NUM_LANES; lane++)
        num += beside->lanes[lane].count > 0;
    return num;
}

static int num_busy(const struct beside *beside) {
    int num = 0;
    for (int lane = 0; lane < CUDA_NUM_LANES; lane++)
        num += beside->lanes[lane].count > 0 && beside->lanes[lane].pending[0].way == BESIDE_KERNELS;
    return num;
}

/* forget - the first transfers of a lane. */
static void forget(struct beside_lane *lane, int num) {
    lane->count -= num;
    memmove(lane->pending, lane->pending + num, (size_t)lane->count * sizeof *lane->pending);
}

int64_t cuda_beside_start(struct device *dev, int lane_number, double seconds, enum beside_way way) {
    struct beside_lane *lane = &linear_state_of(dev)->beside.lanes[lane_number];
    if (lane->count == BESIDE_MAX_PENDING) { /* two that are waited for together */
        struct pending *last = &lane->pending[lane->count - 1];
        last->left_s += seconds;
        last->ticket = ++lane->num_started;
        if (way == BESIDE_KERNELS)
            last->way = way;
        return lane->num_started;
    }
    lane->pending[lane->count++] = (struct pending){++lane->num_started, seconds, way};
    return lane->num_started;
}

void cuda_beside_end(struct device *dev, int lane_number, int64_t ticket) {
    struct beside_lane *lane = &linear_state_of(dev)->beside.lanes[lane_number];
    int num = 0;
    while (num < lane->count && lane->pending[num].ticket <= ticket)
        num++;
    forget(lane, num);
}

int linear_target(const struct device *dev, int busy_lanes) {
    int num_sms = cuda_num_sms(dev), occupied = busy_lanes * linear_state_of(dev)->num_spared;
    return occupied > 0 && occupied <= num_sms / 2 ? num_sms - occupied : 0;
}

int linear_target_now(const struct device *dev) {
    return linear_target(dev, num_busy(&linear_state_of(dev)->beside));
}

/* product_s - how long the product lasts on the multiprocessors that it is chosen for. */
static double product_s(const struct device *dev, const struct product *product) {
    const int64_t *key = product->key;
    bool sm90 = cuda_arch(dev) >= 90;
    double per_sm = key[KEY_IN] == DTYPE_F32 ? (sm90 ? FLOPS_F32_SM90 : FLOPS_F32_SM80)
                                             : (sm90 ? FLOPS_SM90 : FLOPS_SM80);
    if (key[KEY_IN] >= IN_E4M3)
        per_sm *= FP8_GAIN;
    double num_sms = key[KEY_SM_TARGET] ? (double)key[KEY_SM_TARGET] : cuda_num_sms(dev);
    return 2.0 * (double)key[KEY_M] * (double)key[KEY_N] * (double)key[KEY_K] / (per_sm * num_sms);
}

/* pass - so much of the time of a lane's transfers, which follow one another. */
static void pass(struct beside_lane *lane, double seconds) {
    int over = 0;
    while (over < lane->count && lane->pending[over].left_s <= seconds)
        seconds -= lane->pending[over++].left_s;
    forget(lane, over);
    if (lane->count > 0)
        lane->pending[0].left_s -= seconds;
}

/* pass_all - a product that lasts so long was given to the GPU. */
static void pass_all(struct beside *beside, double product_seconds) {
    double seconds = (num_moving(beside) > 1 ? SHARE_OF_TWO : 1) * product_seconds;
    for (int lane = 0; lane < CUDA_NUM_LANES; lane++)
        pass(&beside->lanes[lane], seconds);
}

static void write_down(struct beside_log *log, int64_t target, double seconds) {
    if (log->count == log->room) {
        log->room = log->room ? 2 * log->room : 16;
        log->entries = xrealloc(log->entries, (size_t)log->room * sizeof *log->entries);
    }
    log->entries[log->count++] = (struct beside_entry){target, seconds};
}

void linear_pass(struct device *dev, const struct product *product) {
    struct linear_state *linear = linear_state_of(dev);
    double seconds = product_s(dev, product);
    if (linear->log)
        write_down(linear->log, product->key[KEY_SM_TARGET], seconds);
    pass_all(&linear->beside, seconds);
}

bool linear_pass_again(struct device *dev, const struct beside_log *log) {
    struct beside *beside = &linear_state_of(dev)->beside, before = *beside;
    for (int i = 0; i < log->count; i++) {
        if (linear_target_now(dev) != log->entries[i].target) {
            *beside = before;
            return false;
        }
        pass_all(beside, log->entries[i].seconds);
    }
    return true;
}
