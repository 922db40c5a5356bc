/* config_wire.c - what parallel.wire: int8 does not go with, each by name. */
#include "configs/schema/config_load.h"

int config_check_wire(const struct loading *loading) {
    const struct config *c = loading->config;
    const struct obstacle obstacles[] = {
        {c->parallel.replicas == AUTO_REPLICAS, "parallel.replicas",
         "is auto: what rounding loses is kept by each replica, and how many there are decides about bits",
         "give a number"},
        {c->parallel.replicas == 1, "parallel.replicas", "is 1: no gradients cross between replicas",
         "give a larger number, or 0 for one in each node"},
        {c->parallel.zero_stage == 0, "parallel.stage", "is 0, where every rank takes the whole sum in f32",
         "take 1, 2 or 3"},
        {c->parallel.zero_stage == AUTO_STAGE, "parallel.stage",
         "is auto, which may come to 0, where every rank takes the whole sum in f32", "take 1, 2 or 3"},
        {c->parallel.tensor != 1, "parallel.tensor",
         "is not 1: ranks that divide tensors would each owe something else of what they hold alike",
         "set it to 1"},
        {c->train.compute == COMPUTE_F16, "train.compute",
         "is f16: what is owed is of gradients at another loss scale", "take bf16"},
        {c->train.spike != SPIKE_OFF, "train.spike",
         "is not off: a step that is left out would still owe what rounding lost of it", "set it to off"},
    };
    const struct promise asked = {"parallel.wire", "int8", "compute"};
    if (c->parallel.wire != WIRE_INT8)
        return 0;
    return config_fail_obstacle(loading, &asked, obstacles, sizeof obstacles / sizeof obstacles[0]);
}
