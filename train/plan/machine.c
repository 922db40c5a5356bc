/* machine.c - rates from a profile's peaks, from nothing, or from this processor. */
#include "train/plan/machine.h"

#include <stdio.h>
#include <string.h>

#include "kernels/units.h"
#include "slurm/gpu_codes.h"
#include "train/measure/doctor.h"

/* Share of the boards' power, with the host's counted in: 23 billion parameters on H100 of 700 W were
 * measured at 0.55 kWh for each GPU and hour. */
static const double WATTS_SHARE = 0.8;

static const double GB_PER_GIB = 1.074;

/* A profile gives bandwidths as the payload of an all-reduce; what crosses a link is 2 (n - 1) / n of it:
 * this for 4 ranks. */
static const double BUS_PER_PAYLOAD = 1.5;

/* Before the first byte of an exchange between GPUs: of the order of what a collective takes to start, not measured here. */
static const double LINK_LATENCY_S = 20e-6, NODE_LATENCY_S = 50e-6;

/* For each rate of this processor: who asks for a plan waits for it; 'atelier doctor --calibrate' takes longer. */
static const double GLANCE_S = 0.1;

/* Of the order of an A100 and of a processor with a few cores: layouts are compared by it, not times promised. */
struct machine machine_unknown(bool on_gpu, size_t memory_bytes) {
    struct machine machine = {.name = "a machine nobody knows",
                              .flops_per_s = on_gpu ? 2e14 : 5e10,
                              .bytes_per_s = on_gpu ? 2e12 : 1e10,
                              .link_bytes_per_s = on_gpu ? 1e11 : 5e9,
                              .node_bytes_per_s = on_gpu ? 2e10 : 1e9,
                              .link_latency_s = LINK_LATENCY_S,
                              .node_latency_s = NODE_LATENCY_S,
                              .on_gpu = on_gpu,
                              .guessed = true,
                              .memory_bytes = memory_bytes};
    snprintf(machine.basis, sizeof machine.basis,
             "guessed: the site's profile has no rates for this partition");
    return machine;
}

/* gpu_memory_gb - of the nodes with that feature, else of the partition. */
static double gpu_memory_gb(const struct site_partition *partition, const char *constraint) {
    for (int i = 0; constraint && i < partition->num_features; i++)
        if (strcmp(partition->features[i].name, constraint) == 0 && partition->features[i].gpu_memory_gb > 0)
            return partition->features[i].gpu_memory_gb;
    return partition->gpu_memory_gb;
}

/* tell_rates - the sentence of the assumptions. */
static void tell_rates(struct machine *machine, const struct site_partition *partition, double tflops,
                       enum dtype compute) {
    const struct gpu_rates *rates = gpu_rates_of(partition->gpu);
    char attention[64] = "";
    if (rates->attention_128 != rates->products)
        snprintf(attention, sizeof attention, " (attention %.0f to %.0f %%)", 100 * rates->attention_64,
                 100 * rates->attention_128);
    snprintf(
        machine->basis, sizeof machine->basis,
        "assumed: %.0f %% of a peak of %g TFLOP/s in %s%s, %.0f %% of %g GB/s of memory; sums of %g GB/s "
        "inside a node, "
        "%g between nodes",
        100 * rates->products, tflops, dtype_name(compute), attention, 100 * rates->memory,
        partition->memory_gb_s, partition->intra_gb_s, partition->inter_gb_s);
}

/* take_rates - of the kind of GPU, from its peaks. */
static void take_rates(struct machine *machine, const struct site_partition *partition, double tflops,
                       enum dtype compute) {
    const struct gpu_rates *rates = gpu_rates_of(partition->gpu);
    machine->flops_per_s = rates->products * tflops * TERA;
    machine->half_width = rates->half_width;
    machine->attention_64_flops_per_s = rates->attention_64 * tflops * TERA;
    machine->attention_128_flops_per_s = rates->attention_128 * tflops * TERA;
    machine->launches_s = rates->launches_s;
    machine->beside = rates->beside;
    machine->experts_flops_per_s = compute == DTYPE_F32 ? 0 : rates->experts * tflops * TERA;
    machine->uneven = rates->uneven;
    machine->bytes_per_s = rates->memory * partition->memory_gb_s * GIGA;
}

struct machine machine_of_partition(const struct site_partition *partition, const char *constraint,
                                    enum dtype compute, int ranks_per_node) {
    bool on_gpu = partition->gpus_per_node > 0;
    /* "80 GB" on a board are GiB, less what the driver keeps: estimate_room_bytes counts with less still. */
    double memory_gib =
        on_gpu ? gpu_memory_gb(partition, constraint) : partition->memory_gb / ranks_per_node / GB_PER_GIB;
    struct machine machine = machine_unknown(on_gpu, (size_t)(memory_gib * GIB));
    double tflops = compute == DTYPE_F32 ? partition->tflops_32 : partition->tflops_16;
    snprintf(machine.name, sizeof machine.name, "%s",
             on_gpu && partition->gpu ? partition->gpu : partition->name);
    if (on_gpu && tflops > 0 && partition->memory_gb_s > 0) {
        machine.guessed = false;
        take_rates(&machine, partition, tflops, compute);
        tell_rates(&machine, partition, tflops, compute);
    }
    if (partition->intra_gb_s > 0)
        machine.link_bytes_per_s = BUS_PER_PAYLOAD * partition->intra_gb_s * GIGA;
    if (partition->inter_gb_s > 0)
        machine.node_bytes_per_s = BUS_PER_PAYLOAD * partition->inter_gb_s * GIGA;
    machine.gpu_arch = on_gpu ? gpu_arch(partition->gpu) : 0;
    if (on_gpu)
        machine.host_bytes = (size_t)(partition->memory_gb / ranks_per_node / GB_PER_GIB * GIB);
    machine.watts = on_gpu ? WATTS_SHARE * partition->gpu_watts : 0;
    return machine;
}

/* Measured here and now: processors differ too much for a table. */
struct machine machine_of_processor(enum dtype compute, int ranks_per_node) {
    /* A model's products are of all shapes, and between them everything goes through memory. */
    const double share = 0.6, kept = share / ranks_per_node;
    double total_gb, available_gb;
    double gflops = doctor_gemm_gflops(compute == DTYPE_F32 ? DTYPE_F32 : DTYPE_BF16, GLANCE_S);
    double copied_gb_per_s = doctor_copy_gb_per_s(GLANCE_S);
    char features[96];
    doctor_memory(&total_gb, &available_gb);
    struct machine machine = machine_unknown(false, (size_t)(total_gb * GIGA / ranks_per_node));
    doctor_processor(machine.name, sizeof machine.name, features, sizeof features);
    machine.guessed = false;
    machine.flops_per_s = kept * gflops * GIGA;
    machine.bytes_per_s = kept * copied_gb_per_s * GIGA;
    machine.link_bytes_per_s = machine.bytes_per_s / 4; /* through shared memory: copied in, copied out */
    snprintf(machine.basis, sizeof machine.basis,
             "%.0f %% of what this processor did just now: %.0f GFLOP/s in %s, %.1f GB/s copied, shared by "
             "%d rank%s",
             100 * share, gflops, dtype_name(compute == DTYPE_F32 ? DTYPE_F32 : DTYPE_BF16), copied_gb_per_s,
             ranks_per_node, ranks_per_node > 1 ? "s" : "");
    return machine;
}
