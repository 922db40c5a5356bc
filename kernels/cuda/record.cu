/* record.cu - ops written down instead of given to the GPU: what each was given is kept by value, and compared member by member.
 *
 * A member that is added to a struct and not named here does not compile: the bindings count them.  What a pointer to a struct
 * points at is kept; pointers inside are the GPU's memory, and are compared as they are. */
#include <string.h>

#include <new>
#include <tuple>
#include <type_traits>

#include "kernels/cuda/graph.h"

namespace {

/* members_of - of a struct, as a tuple. */
#define MEMBERS(type, ...)                                                                                   \
    auto members_of(const struct type &s) {                                                                  \
        const auto &[__VA_ARGS__] = s;                                                                       \
        return std::tie(__VA_ARGS__);                                                                        \
    }
MEMBERS(tensor, a, b, c, d)
MEMBERS(attention_plan, a, b, c)
MEMBERS(attention_mask, a, b, c, d, e)
MEMBERS(rotation, a, b, c, d, e)
MEMBERS(norm, a, b, c, d, e, f)
MEMBERS(norm_stats, a, b)
MEMBERS(qk_norms, a, b, c, d)
MEMBERS(qk_norm_grad, a, b)
MEMBERS(xielu, a, b, c, d)
MEMBERS(xielu_grad, a, b)
MEMBERS(loss_args, a, b, c, d)
MEMBERS(fp8_magnitude, a, b)
MEMBERS(fp8_args, a, b, c, d, e)
MEMBERS(fp8_backward, a, b, c, d, e, f, g)
MEMBERS(distill_rows, a, b, c, d, e)
MEMBERS(distill_args, a, b, c)
MEMBERS(distill_out, a, b, c)
MEMBERS(column_args, a, b, c)
MEMBERS(dropout_args, a, b, c, d)
MEMBERS(magnitude, a, b, c)
MEMBERS(route_args, a, b, c, d, e, f)
MEMBERS(clamp_args, a, b)
MEMBERS(expert_routes, a, b, c, d, e, f)
MEMBERS(route_counts, a, b, c, d)
MEMBERS(packed, a, b, c, d, e, f)
MEMBERS(adamw_args, a, b, c, d, e, f, g, h, i, j)

/* The count of pairs is the front door's alone: it changes with every micro-batch, and no op looks at it. */
auto members_of(const struct attention_args &s) {
    const auto &[a, b, c, d, e, num_pairs] = s;
    (void)num_pairs;
    return std::tie(a, b, c, d, e);
}

template <class T> bool same(const T &a, const T &b);
template <class T, size_t N> bool same(const T (&a)[N], const T (&b)[N]) {
    bool all = true;
    for (size_t i = 0; i < N; i++)
        all = all && a[i] == b[i];
    return all;
}
template <class Tuple, size_t... I>
bool same_members(const Tuple &a, const Tuple &b, std::index_sequence<I...>) {
    return (same(std::get<I>(a), std::get<I>(b)) && ...);
}
template <class T> bool same(const T &a, const T &b) {
    if constexpr (std::is_class_v<T>) {
        const auto left = members_of(a), right = members_of(b);
        return same_members(left, right, std::make_index_sequence<std::tuple_size_v<decltype(left)>>());
    } else if constexpr (std::is_floating_point_v<T>) {
        return memcmp(&a, &b, sizeof a) == 0; /* -0 is another number than 0 */
    } else {
        return a == b;
    }
}

/* What an op was given: a value, or what a pointer to a struct points at, if at anything. */
template <class T, class = void> struct held {
    T value;

    explicit held(T given) : value(given) {
    }
    T give() const {
        return value;
    }
    bool is(const held &other) const {
        return same(value, other.value);
    }
};
template <class T> struct held<const T *, std::enable_if_t<std::is_class_v<T>>> {
    T value;
    bool is_there;

    explicit held(const T *given) : value(given ? *given : T()), is_there(given) {
    }
    const T *give() const {
        return is_there ? &value : nullptr;
    }
    bool is(const held &other) const {
        return is_there == other.is_there && (!is_there || same(value, other.value));
    }
};

/* Whether it is an op, and not a mark of time. */
template <auto OP> constexpr bool is_op = true;

/* written<OP>::ask - what stands in the table in place of an op; of one that returns something, the op itself. */
template <auto OP> struct written { static constexpr auto ask = OP; };
template <class... A, void (*OP)(struct device *, A...)> struct written<OP> {
    struct call {
        struct written_op head;
        std::tuple<held<A>...> args;
    };
    static void run(struct device *dev, const struct written_op *op) {
        std::apply([&](const auto &...arg) { OP(dev, arg.give()...); }, ((const call *)op)->args);
    }
    template <size_t... I>
    static bool same_args(const struct written_op *a, const struct written_op *b, std::index_sequence<I...>) {
        const auto &left = ((const call *)a)->args, &right = ((const call *)b)->args;
        return (std::get<I>(left).is(std::get<I>(right)) && ...);
    }
    static bool is_same(const struct written_op *a, const struct written_op *b) {
        return same_args(a, b, std::index_sequence_for<A...>());
    }
    static void ask(struct device *dev, A... args) {
        const size_t size_bytes =
            (sizeof(call) + GRAPH_ALIGN_BYTES - 1) / GRAPH_ALIGN_BYTES * GRAPH_ALIGN_BYTES;
        static_assert(alignof(call) <= GRAPH_ALIGN_BYTES, "lists are aligned to so much");
        new (graph_append(dev, size_bytes, is_op<OP>)) call{{run, is_same, size_bytes}, {held<A>(args)...}};
    }
};

/* The marks for the time of ops, with the section that the host is in when it asks. */
void begin(struct device *dev, enum op_id id, enum device_section section) {
    dev->section = section;
    cuda_op_begin(dev, id);
}
void end(struct device *dev, enum op_id id) {
    cuda_op_end(dev, id);
}
template <> constexpr bool is_op<begin> = false;
template <> constexpr bool is_op<end> = false;

/* The marks around a wait for other ranks are not written: what they time lies between two lists, of which the first is given before. */
void write_begin(struct device *dev, enum op_id id) {
    if (id != OP_TRANSFER) {
        written<begin>::ask(dev, id, dev->section);
        return;
    }
    (void)cuda_stream(dev);
    cuda_op_begin(dev, id);
}
void write_end(struct device *dev, enum op_id id) {
    if (id != OP_TRANSFER) {
        written<end>::ask(dev, id);
        return;
    }
    (void)cuda_stream(dev);
    cuda_op_end(dev, id);
}

} // namespace

#define WRITE(name) table->name = written<cuda_##name>::ask;

extern "C" void graph_writing_ops(struct ops *table) {
    EACH_OP(WRITE)
    table->exact_squares = cuda_exact_squares; /* its sum is the host's */
    WRITE(zero)
    WRITE(copy)
    table->op_begin = write_begin;
    table->op_end = write_end;
}
