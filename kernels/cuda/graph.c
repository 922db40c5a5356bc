/* graph.c - lists of ops as CUDA graphs.
 *
 * Between device_record and device_play ops are written down (record.cu).  The list is then compared with those that were kept, op by
 * op and argument by argument.  One that is new is given to the GPU op by op, which loads its kernels and chooses its algorithms; one
 * that comes a second time is captured; from then on it is launched as one graph.  So a graph never computes with other memory or
 * other numbers than those that were asked for: what differs is another list.  What changes from one micro-batch to the next
 * must therefore lie in the GPU's memory.
 *
 * What is not an op (copies from and to the host, waits, transfers between ranks) asks for the stream: cuda_stream gives the list
 * that was written so far first, as a list of its own.  So with several GPUs a micro-batch is a graph between each two exchanges.
 *
 * An op does not say which transfers run beside it, by which products choose their algorithms (beside.c).  So a list has with it what
 * its products were chosen for, and where the account of transfers would now choose otherwise it is another list, too.
 *
 * A graph has one set of events for the times of its ops, and they are read before it is launched again.  Where the same list comes
 * twice in a row, as with one GPU, two graphs of it take turns: the host waits for the one before the last, and the GPU for nobody. */
#include "kernels/cuda/graph.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/linear.h"
#include "kernels/device_cuda.h"

/* Lists that are kept: of a micro-batch that overwrites gradients, one that adds to them, and the last, two or three for each layer
 * where there are several GPUs, with room for other sizes.  So many micro-batches of which nothing came again are taken for a sign that
 * nothing will. */
enum { MAX_KEPT = 4096, MOST_IN_VAIN = 256, FIRST_ROOM_BYTES = 1 << 16 };

struct op_list {
    char *ops;
    size_t used_bytes, room_bytes;
    int64_t count; /* of ops, without the marks for their time */
};

/* A graph that can be launched; exec NULL: not captured. */
struct graph {
    cudaGraphExec_t exec;
    struct cuda_spans *spans; /* the times of its ops */
};

/* A list that was given once or more often. */
enum { NUM_TURNS = 2 };
struct kept {
    struct op_list list;
    struct beside_log products;
    int64_t last_use;
    struct graph graphs[NUM_TURNS];
    int turn; /* the graph that was launched last */
};

struct cuda_graphs {
    bool on;
    const struct ops *given; /* the device's own table */
    struct ops written;      /* that of a device whose ops are written down */
    struct op_list list;
    struct kept *kept; /* [room] */
    int num_kept, room;
    int last; /* the number of the one that was given last; -1: none that is kept */
    int64_t num_uses, num_plays;
    int64_t num_forgets; /* of products, when the lists that are kept were given */
    bool is_full;        /* which was said */
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
    graphs->last = -1;
    write(&graphs->written);
    return graphs;
}

/* forget - a kept list and its graph, which the GPU is done with. */
static void forget(struct cuda_graphs *graphs, struct kept *kept) {
    for (int i = 0; i < NUM_TURNS; i++) {
        if (kept->graphs[i].exec) {
            CUDA_CHECK(cudaGraphExecDestroy(kept->graphs[i].exec));
            graphs->counts.ops -= kept->list.count;
        }
        cuda_spans_free(kept->graphs[i].spans);
    }
    free(kept->products.entries);
    free(kept->list.ops);
    memset(kept, 0, sizeof *kept);
}

static void forget_all(struct cuda_graphs *graphs) {
    for (int i = 0; i < graphs->num_kept; i++)
        forget(graphs, &graphs->kept[i]);
    graphs->num_kept = 0;
    graphs->last = -1;
}

void graphs_forget(struct device *dev) {
    cuda_graphs_collect(dev);
    forget_all(graphs_of(dev));
}

void cuda_graphs_free(struct cuda_graphs *graphs) {
    forget_all(graphs);
    free(graphs->kept);
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

struct written_op *graph_append(struct device *dev, size_t size_bytes, bool is_op) {
    struct op_list *list = &graphs_of(dev)->list;
    list->count += is_op;
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

/* find - the list among those that were kept whose products would now be chosen as they were then: its number, or -1.  The search begins
 * after the one that was given last, for micro-batches repeat their lists in order. */
static int find(struct device *dev, const struct op_list *list) {
    struct cuda_graphs *graphs = graphs_of(dev);
    for (int i = 1; i <= graphs->num_kept; i++) {
        int number = (graphs->last + i) % graphs->num_kept;
        if (is_same(&graphs->kept[number].list, list) &&
            linear_pass_again(dev, &graphs->kept[number].products))
            return number;
    }
    return -1;
}

/* collect - the times of its last launches. */
static void collect(struct device *dev, const struct kept *kept) {
    for (int i = 0; i < NUM_TURNS; i++)
        cuda_spans_collect(dev, kept->graphs[i].spans);
}

/* oldest - the number of the one that was not used for the longest time, emptied. */
static int oldest(struct device *dev) {
    struct cuda_graphs *graphs = graphs_of(dev);
    int number = 0;
    for (int i = 1; i < graphs->num_kept; i++)
        if (graphs->kept[i].last_use < graphs->kept[number].last_use)
            number = i;
    struct kept *kept = &graphs->kept[number];
    if (kept->graphs[0].exec)
        cuda_wait(dev, state_of(dev)->stream);
    collect(dev, kept);
    forget(graphs, kept);
    return number;
}

/* place - the number of one more. */
static int place(struct device *dev) {
    struct cuda_graphs *graphs = graphs_of(dev);
    if (graphs->num_kept == MAX_KEPT)
        return oldest(dev);
    if (graphs->num_kept == graphs->room) {
        graphs->room = graphs->room ? 2 * graphs->room : 16;
        graphs->kept = xrealloc(graphs->kept, (size_t)graphs->room * sizeof *graphs->kept);
    }
    return graphs->num_kept++;
}

/* keep - a copy of a list, with what its products were chosen for, which is taken over. */
static void keep(struct device *dev, const struct op_list *list, const struct beside_log *products) {
    struct cuda_graphs *graphs = graphs_of(dev);
    int number = place(dev);
    struct kept *kept = &graphs->kept[number];
    *kept = (struct kept){.products = *products, .last_use = ++graphs->num_uses};
    kept->list = *list;
    kept->list.room_bytes = list->used_bytes;
    kept->list.ops = xmalloc(list->used_bytes);
    memcpy(kept->list.ops, list->ops, list->used_bytes);
    graphs->last = number;
    graphs->counts.kept++;
}

/* --- Graphs. */

/* capture - a graph of the list.  Returns false, having said why once, where the GPU's driver does not make one: nothing was computed
 * then, and the list can still be given op by op. */
static bool capture(struct device *dev, const struct op_list *list, struct graph *made) {
    struct cuda_graphs *graphs = graphs_of(dev);
    cudaStream_t stream = state_of(dev)->stream;
    cudaGraph_t graph = NULL;
    cudaError_t status = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (status == cudaSuccess) {
        made->spans = cuda_spans_open(dev);
        run(dev, list);
        cuda_spans_close(dev);
        status = cudaStreamEndCapture(stream, &graph);
    }
    if (status == cudaSuccess)
        status = cudaGraphInstantiate(&made->exec, graph, 0);
    if (graph)
        CUDA_CHECK(cudaGraphDestroy(graph));
    if (status == cudaSuccess) {
        graphs->counts.captured++;
        graphs->counts.ops += list->count;
        return true;
    }
    (void)cudaGetLastError();
    cuda_spans_free(made->spans);
    *made = (struct graph){NULL, NULL};
    graphs->on = false;
    warn(
        "a micro-batch cannot be captured as a CUDA graph: %s (%s) on %s: its operations are given one by one, which is slower",
        cudaGetErrorString(status), cudaGetErrorName(status), state_of(dev)->gpu);
    return false;
}

/* may_capture - there is room for one more graph of the list: what the driver keeps of graphs is the GPU's memory. */
static bool may_capture(struct cuda_graphs *graphs, const struct op_list *list) {
    if (!graphs->on || graphs->counts.ops + list->count <= CUDA_GRAPH_MAX_OPS)
        return graphs->on;
    if (!graphs->is_full)
        warn(
            "CUDA graphs of %lld operations are kept, and no more: the other operations are given one by one",
            (long long)graphs->counts.ops);
    graphs->is_full = true;
    return false;
}

/* launch - times of the launch before are read first. */
static void launch(struct device *dev, const struct graph *graph) {
    cuda_spans_collect(dev, graph->spans);
    CUDA_CHECK(cudaGraphLaunch(graph->exec, state_of(dev)->stream));
    cuda_spans_begun(graph->spans);
    graphs_of(dev)->counts.launched++;
}

/* turn_of - which graph of a list is to be launched: the other one where this was the last, and there is room for two. */
static int turn_of(struct cuda_graphs *graphs, int number) {
    const struct kept *kept = &graphs->kept[number];
    int other = (kept->turn + 1) % NUM_TURNS;
    if (number != graphs->last || !kept->graphs[kept->turn].exec)
        return kept->turn;
    return kept->graphs[other].exec || may_capture(graphs, &kept->list) ? other : kept->turn;
}

/* give_graph - one that is kept, captured where it has to be.  `before`: the account of transfers before its products, which a
 * capture lets pass once more.  Returns false where there is no graph, with the account as it was before. */
static bool give_graph(struct device *dev, int number, const struct beside *before) {
    struct cuda_graphs *graphs = graphs_of(dev);
    struct kept *kept = &graphs->kept[number];
    int turn = turn_of(graphs, number);
    kept->last_use = ++graphs->num_uses;
    graphs->last = number;
    if (!kept->graphs[turn].exec) {
        linear_state_of(dev)->beside = *before;
        if (!may_capture(graphs, &kept->list) || !capture(dev, &kept->list, &kept->graphs[turn])) {
            linear_state_of(dev)->beside = *before;
            return false;
        }
    }
    kept->turn = turn;
    launch(dev, &kept->graphs[turn]);
    return true;
}

/* give - what was written, to the GPU. */
static void give(struct device *dev) {
    struct cuda_graphs *graphs = graphs_of(dev);
    struct linear_state *linear = linear_state_of(dev);
    const struct beside before = linear->beside;
    struct beside_log products = {NULL, 0, 0};
    int number = find(dev, &graphs->list);
    if (number >= 0 && give_graph(dev, number, &before))
        return;
    if (number < 0 && graphs->on)
        linear->log = &products;
    run(dev, &graphs->list);
    if (linear->log)
        keep(dev, &graphs->list, &products);
    linear->log = NULL;
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
    graphs->list.count = 0;
    dev->section = section;
    set_writing(dev);
}

/* forget_stale - where products have other algorithms than when the lists were given. */
static void forget_stale(struct device *dev) {
    struct cuda_graphs *graphs = graphs_of(dev);
    int64_t now = linear_state_of(dev)->num_forgets;
    if (graphs->num_forgets == now)
        return;
    cuda_wait(dev, state_of(dev)->stream);
    graphs_forget(dev);
    graphs->num_forgets = now;
}

/* Choices of algorithms are timed op by op: that is not for graphs. */
void cuda_record(struct device *dev) {
    struct cuda_graphs *graphs = graphs_of(dev);
    if (!graphs->on || linear_state_of(dev)->tune)
        return;
    CHECK(!state_of(dev)->before_stream, "ops are written down already");
    forget_stale(dev);
    set_writing(dev);
}

/* give_up - where nothing ever comes again. */
static void give_up(struct device *dev) {
    struct cuda_graphs *graphs = graphs_of(dev);
    if (graphs->counts.launched > 0 || ++graphs->num_plays < MOST_IN_VAIN)
        return;
    graphs->on = false;
    forget_all(graphs);
    warn(
        "no micro-batch asks for the same operations as one before it: they are given to the GPU one by one, not as CUDA graphs");
}

void cuda_play(struct device *dev) {
    if (!state_of(dev)->before_stream)
        return;
    flush(dev);
    set_giving(dev);
    if (graphs_of(dev)->on)
        give_up(dev);
}

void cuda_graphs_collect(struct device *dev) {
    struct cuda_graphs *graphs = graphs_of(dev);
    for (int i = 0; i < graphs->num_kept; i++)
        collect(dev, &graphs->kept[i]);
}
