/* exchange_watch.h - whether a run waits for its exchanges longer than it computes: said once, with what would send less. */
#pragma once

#include "kernels/error.h"

/* The first step of a start is not looked at: kernels are loaded and buffers taken in it. */
enum { EXCHANGE_WATCH_STEPS = 4, EXCHANGE_WATCH_ROOM = 600 };

/* How the run exchanges, for the words about what would help. */
struct exchange_ways {
    int zero_stage, num_shards, num_replicas;
    bool keeps_gradients; /* reduced once a step */
    bool is_f32_wire;     /* between replicas, in a run that computes in 16 bits */
    bool is_apart;        /* replicas learn apart: nothing but their outer steps crosses */
};

/* What one step took [s] and sent. */
struct exchange_step {
    double waited_s, products_s; /* for exchanges; forward and backward */
    int64_t inside_bytes, across_bytes;
    int64_t rows_bytes; /* of texts, layers and experts that ranks share, in the middle of passes */
    double stood_s;     /* of waited_s, for those; 0 where it is not known */
};

struct exchange_watch {
    int num_steps; /* looked at, with the first one */
    struct exchange_step sum;
};

/* exchange_watch_step - after each step; true once, where the steps looked at waited longer than they computed and for more than a
 * moment: text, of EXCHANGE_WATCH_ROOM bytes, then says it.  Pure; nothing more is looked at afterwards. */
bool exchange_watch_step(struct exchange_watch *watch, const struct exchange_step *step,
                         const struct exchange_ways *ways, char *text);
