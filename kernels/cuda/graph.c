/* graph.c - lists of ops as CUDA graphs.
 *
 * Between device_record and device_play ops are written down (record.cu).  The list is then compared with those that were kept, op by
 * op and argument by argument.  One that is new is given to the GPU op by op, which loads its kernels and chooses its algorithms; one
 * that comes a second time is captured; from then on it is launched as one graph.  So a graph never computes with other memory or
 * other numbers than those that were asked for: what differs is another list.  What changes from one micro-batch to the next
 * must therefore lie in the GPU's memory.
 *
 * What is not an op (copies from and to the host, waits, transfers between ranks) asks for the stream: cuda_stream gives the list
 * that was written so far first, as a list of its own. */
#include "kernels/cuda/graph.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/linear.h"
#include "kernels/device_cuda.h"

/* Lists that are kept: a micro-batch that overwrites gradients and one that adds to them, with room for other sizes.  So many that
 * were new while none came again are taken for a sign that none will. */
enum { MAX_KEPT = 64, MOST_IN_VAIN = 256, FIRST_ROOM_BYTES = 1 << 16 };

struct op_list {
    char *ops;
    size_t used_bytes, room_bytes;
};

/* A list that was given once or more often; exec NULL: not captured. */
struct kept {
    struct op_list list;
    int64_t last_use;
    cudaGraphExec_t exec;
    struct cuda_spans *spans; /* the times of its ops */
};

struct cuda_graphs {
    bool on;
    const struct ops *given; /* the device's own table */
    struct ops written;      /* that of a device whose ops are written down */
    struct op_list list;
    struct kept kept[MAX_KEPT];
    int num_kept;
    int64_t num_uses;
    struct cuda_graph_counts counts;
};

static struct cuda_state *state_of(const struct device *dev) {
    return dev->state;
}

static struct cuda_graphs *graphs_of(const struct device *dev) {
    return state_of(dev)->graphs;
}

struct cuda_graphs *cuda_graphs_create(const struct ops *given, void (*write)(struct ops *)) {
    struct cuda_graphs *graphs = xcalloc(1, sizeof *graphs);
    graphs->given = given;
    graphs->written = *given;
    write(&graphs->written);
    return graphs;
}

/* forget - a kept list and its graph, which the GPU is done with. */
static void forget(struct kept *kept) {
    if (kept->exec)
        CUDA_CHECK(cudaGraphExecDestroy(kept->exec));
    cuda_spans_free(kept->spans);
    free(kept->list.ops);
    memset(kept, 0, sizeof *kept);
}

static void forget_all(struct cuda_graphs *graphs) {
    for (int i = 0; i < graphs->num_kept; i++)
        forget(&graphs->kept[i]);
    graphs->num_kept = 0;
}

void graphs_forget(struct device *dev) {
    cuda_graphs_collect(dev);
    forget_all(graphs_of(dev));
}

void cuda_graphs_free(struct cuda_graphs *graphs) {
    forget_all(graphs);
    free(graphs->list.ops);
    free(graphs);
}

void cuda_use_graphs(struct device *dev, bool on) {
    graphs_of(dev)->on = on;
}

struct cuda_graph_counts cuda_count_graphs(const struct device *dev) {
    return graphs_of(dev)->counts;
}

/* --- Lists. */

struct written_op *graph_append(struct device *dev, size_t size_bytes) {
    struct op_list *list = &graphs_of(dev)->list;
    while (list->room_bytes - list->used_bytes < size_bytes) {
        list->room_bytes = list->room_bytes ? 2 * list->room_bytes : FIRST_ROOM_BYTES;
        list->ops = xrealloc(list->ops, list->room_bytes);
    }
    list->used_bytes += size_bytes;
    return (struct written_op *)(list->ops + list->used_bytes - size_bytes);
}

/* op_at - of a list; NULL at its end. */
static const struct written_op *op_at(const struct op_list *list, size_t at) {
    return at < list->used_bytes ? (const struct written_op *)(list->ops + at) : NULL;
}

static void run(struct device *dev, const struct op_list *list) {
    const struct written_op *op;
    for (size_t at = 0; (op = op_at(list, at)); at += op->size_bytes)
        op->run(dev, op);
}

static bool is_same(const struct op_list *a, const struct op_list *b) {
    const struct written_op *op, *other;
    if (a->used_bytes != b->used_bytes)
        return false;
    for (size_t at = 0; (op = op_at(a, at)); at += op->size_bytes) {
        other = op_at(b, at);
        if (op->run != other->run || !op->same(op, other))
            return false;
    }
    return true;
}

/* find - the list among those that were kept, or NULL. */
static struct kept *find(struct cuda_graphs *graphs, const struct op_list *list) {
    for (int i = 0; i < graphs->num_kept; i++)
        if (is_same(&graphs->kept[i].list, list)) {
            graphs->kept[i].last_use = ++graphs->num_uses;
            return &graphs->kept[i];
        }
    return NULL;
}

/* keep - a copy of a list, where need be in the place of the one that was not used for the longest time. */
static void keep(struct device *dev, const struct op_list *list) {
    struct cuda_graphs *graphs = graphs_of(dev);
    struct kept *place = &graphs->kept[0];
    if (graphs->num_kept < MAX_KEPT) {
        place = &graphs->kept[graphs->num_kept++];
    } else {
        for (int i = 1; i < MAX_KEPT; i++)
            if (graphs->kept[i].last_use < place->last_use)
                place = &graphs->kept[i];
        cuda_wait(dev, state_of(dev)->stream);
        cuda_spans_collect(dev, place->spans);
        forget(place);
    }
    *place = (struct kept){.last_use = ++graphs->num_uses};
    place->list = (struct op_list){xmalloc(list->used_bytes), list->used_bytes, list->used_bytes};
    memcpy(place->list.ops, list->ops, list->used_bytes);
    graphs->counts.kept++;
}

/* give_up - where nothing ever comes again. */
static void give_up(struct cuda_graphs *graphs) {
    if (graphs->counts.launched > 0 || graphs->counts.kept < MOST_IN_VAIN)
        return;
    graphs->on = false;
    warn(
        "no micro-batch asks for the same operations as one before it: they are given to the GPU one by one, not as CUDA graphs");
}

/* --- Graphs. */

/* capture - a graph of the list.  Returns false, having said why once, where the GPU's driver does not make one: nothing was computed
 * then, and the list can still be given op by op. */
static bool capture(struct device *dev, struct kept *kept) {
    struct cuda_graphs *graphs = graphs_of(dev);
    cudaStream_t stream = state_of(dev)->stream;
    cudaGraph_t graph = NULL;
    cudaError_t status = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (status == cudaSuccess) {
        kept->spans = cuda_spans_open(dev);
        run(dev, &kept->list);
        cuda_spans_close(dev);
        status = cudaStreamEndCapture(stream, &graph);
    }
    if (status == cudaSuccess)
        status = cudaGraphInstantiate(&kept->exec, graph, 0);
    if (graph)
        CUDA_CHECK(cudaGraphDestroy(graph));
    if (status == cudaSuccess) {
        graphs->counts.captured++;
        return true;
    }
    (void)cudaGetLastError();
    cuda_spans_free(kept->spans);
    kept->spans = NULL;
    kept->exec = NULL;
    graphs->on = false;
    warn(
        "a micro-batch cannot be captured as a CUDA graph: %s (%s) on %s: its operations are given one by one, which is slower",
        cudaGetErrorString(status), cudaGetErrorName(status), state_of(dev)->gpu);
    return false;
}

/* launch - times of the launch before are read first: a graph has one set of events. */
static void launch(struct device *dev, struct kept *kept) {
    cuda_spans_collect(dev, kept->spans);
    CUDA_CHECK(cudaGraphLaunch(kept->exec, state_of(dev)->stream));
    cuda_spans_begun(kept->spans);
    graphs_of(dev)->counts.launched++;
}

/* give - what was written, to the GPU. */
static void give(struct device *dev) {
    struct cuda_graphs *graphs = graphs_of(dev);
    struct kept *kept = find(graphs, &graphs->list);
    if (kept && (kept->exec || (graphs->on && capture(dev, kept)))) {
        launch(dev, kept);
        return;
    }
    run(dev, &graphs->list);
    if (kept || !graphs->on)
        return;
    keep(dev, &graphs->list);
    give_up(graphs);
}

static void flush(struct device *dev);

/* set_writing - from here on ops are written down, and whoever asks for the stream has them given first. */
static void set_writing(struct device *dev) {
    dev->ops = &graphs_of(dev)->written;
    state_of(dev)->before_stream = flush;
}

static void set_giving(struct device *dev) {
    dev->ops = graphs_of(dev)->given;
    state_of(dev)->before_stream = NULL;
}

/* flush - give what was written so far, and go on writing. */
static void flush(struct device *dev) {
    struct cuda_graphs *graphs = graphs_of(dev);
    enum device_section section = dev->section;
    if (graphs->list.used_bytes == 0)
        return;
    set_giving(dev);
    give(dev);
    graphs->list.used_bytes = 0;
    dev->section = section;
    set_writing(dev);
}

/* Choices of algorithms are timed op by op: that is not for graphs. */
void cuda_record(struct device *dev) {
    struct cuda_graphs *graphs = graphs_of(dev);
    if (!graphs->on || linear_state_of(dev)->tune)
        return;
    CHECK(!state_of(dev)->before_stream, "ops are written down already");
    set_writing(dev);
}

void cuda_play(struct device *dev) {
    if (!state_of(dev)->before_stream)
        return;
    flush(dev);
    set_giving(dev);
}

void cuda_graphs_collect(struct device *dev) {
    struct cuda_graphs *graphs = graphs_of(dev);
    for (int i = 0; i < graphs->num_kept; i++)
        cuda_spans_collect(dev, graphs->kept[i].spans);
}
