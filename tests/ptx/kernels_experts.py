"""kernels_experts.py - a router's choice, the order of the places, rows there and back, products with the matrix of each place's
expert: cases against references in f64."""
import numpy as np

from bench import F32, TYPES, divide_up, expect_near, expect_same, whole_warps

RUN, WARPS, DOT_WARPS = 256, 4, 8  # choices sorted by a warp; warps of a block that routes; of one that takes gradients


def softmax(z):
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def logsumexp(z):
    return z.max(1) + np.log(np.exp(z - z.max(1, keepdims=True)).sum(1))


def route(bench, rows, experts, chosen, renormalises):
    module = bench.module("experts_route")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    z = bench.normal((rows, experts))
    z[1, 2] = np.nan
    out_experts, out_weights = room((rows, chosen), np.int32), room((rows, chosen), np.float32)
    lse = room(rows, np.float32)
    arguments = [[("P", out_experts), ("P", out_weights), ("P", lse), ("P", put(z)), ("q", rows), ("i", experts), ("i", chosen),
                  ("?", renormalises)]]
    module.launch(module.file.find("route_kernel"), (divide_up(rows, WARPS),), (32, WARPS), arguments, WARPS * experts * 4)
    order = np.argsort(-z.astype(float), 1, kind="stable")[:, :chosen]
    order[1] = np.arange(chosen)
    want = np.take_along_axis(softmax(z.astype(float)), order, 1)
    want /= want.sum(1, keepdims=True) if renormalises else 1
    expect_same("experts", get(out_experts, (rows, chosen), np.int32), order)
    found, good = get(out_weights, (rows, chosen), np.float32), np.arange(rows) != 1
    expect_same("weights of a row with a NaN", np.isnan(found[1]), np.ones(chosen, bool))
    expect_near("lse", get(lse, rows, np.float32)[good], logsumexp(z[good].astype(float)), 2e-6, 1e-6)
    return expect_near("weights", found[good], want[good], 2e-6, 1e-12)


def route_gradient(bench, rows, experts, chosen, renormalises):
    module = bench.module("experts_route")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    z, dw = bench.normal((rows, experts)), bench.normal((rows, chosen))
    order = np.argsort(-z.astype(float), 1, kind="stable")[:, :chosen]
    p = softmax(z.astype(float))
    weights = np.take_along_axis(p, order, 1)
    weights /= weights.sum(1, keepdims=True) if renormalises else 1
    dz = room((rows, experts), np.float32)
    lse = logsumexp(z.astype(float)).astype(np.float32)
    routes = [("P", put(order.astype(np.int32))), ("P", put(weights.astype(np.float32))), ("P", put(lse)), ("P", put(z)),
              ("q", rows), ("i", experts), ("i", chosen), ("?", renormalises)]
    module.launch(module.file.find("route_backward_kernel"), (divide_up(rows, WARPS),), (32, WARPS),
                  [[("P", dz), ("P", put(dw)), routes]])
    of_weights = np.zeros((rows, experts))
    np.put_along_axis(of_weights, order, weights * dw, 1)
    kept = np.zeros((rows, experts))
    np.put_along_axis(kept, order, weights, 1)
    want = of_weights - (kept if renormalises else p) * of_weights.sum(1, keepdims=True)
    return expect_near("dlogits", get(dz, (rows, experts), np.float32), want, 4e-6, 1e-6)


def sigmoid(z):
    return 1 / (1 + np.exp(-z.astype(float)))


def in_groups(scores, groups, chosen):
    """Scores with -infinity outside of the groups whose two largest have the largest sums."""
    rows, experts = scores.shape
    sums = np.sort(scores.reshape(rows, groups, -1), 2)[:, :, -2:].sum(2)
    best = np.argsort(-sums, 1, kind="stable")[:, :chosen]
    kept = np.zeros((rows, groups), bool)
    np.put_along_axis(kept, best, True, 1)
    return np.where(np.repeat(kept, experts // groups, 1), scores, -np.inf)


class Sigmoids:
    """A router of sigmoids: five rows, of which the second has a NaN, and what it has to choose."""

    def __init__(self, bench, experts, chosen, groups, renormalises):
        self.rows, self.experts, self.chosen, self.groups, self.renormalises = 5, experts, chosen, groups, renormalises
        self.groups_chosen, self.scale = max(groups // 2, 1), 2.5
        self.z, self.correction = 3 * bench.normal((self.rows, experts)), bench.normal(experts)
        scores = sigmoid(self.z) + self.correction
        if groups > 1:
            scores = in_groups(scores, groups, self.groups_chosen)
        self.order = np.argsort(-scores, 1, kind="stable")[:, :chosen]
        self.weights = np.take_along_axis(sigmoid(self.z), self.order, 1)
        if renormalises:
            self.weights = self.weights / self.weights.sum(1, keepdims=True)
        self.weights = self.scale * self.weights

    def arguments(self, order, weights, lse, z, correction):
        rows = [("P", order), ("P", weights), ("P", lse), ("P", z), ("q", self.rows), ("i", self.experts), ("i", self.chosen),
                ("?", self.renormalises)]
        return [rows, ("P", correction), ("i", self.groups), ("i", self.groups_chosen), ("f", self.scale)]


def route_sigmoid(bench, *shape):
    module, r = bench.module("experts_route"), Sigmoids(bench, *shape)
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    order, weights, lse = room((r.rows, r.chosen), np.int32), room((r.rows, r.chosen), np.float32), room(r.rows, np.float32)
    z = r.z.copy()
    z[1, 2] = np.nan
    module.launch(module.file.find("route_sigmoid_kernel"), (divide_up(r.rows, WARPS),), (32, WARPS),
                  [r.arguments(order, weights, lse, put(z), put(r.correction))], WARPS * r.experts * 4)
    good = np.arange(r.rows) != 1
    found = get(weights, (r.rows, r.chosen), np.float32)
    expect_same("experts", get(order, (r.rows, r.chosen), np.int32)[good], r.order[good])
    expect_same("experts of a row with a NaN", get(order, (r.rows, r.chosen), np.int32)[1], np.arange(r.chosen))
    expect_same("weights of a row with a NaN", np.isnan(found[1]), np.ones(r.chosen, bool))
    expect_near("lse", get(lse, r.rows, np.float32)[good], logsumexp(z[good].astype(float)), 2e-6, 1e-6)
    return expect_near("weights", found[good], r.weights[good], 2e-6, 1e-12)


def route_sigmoid_gradient(bench, *shape):
    module, r = bench.module("experts_route"), Sigmoids(bench, *shape)
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    dw, dz = bench.normal((r.rows, r.chosen)), room((r.rows, r.experts), np.float32)
    routes = r.arguments(put(r.order.astype(np.int32)), put(r.weights.astype(np.float32)), put(np.zeros(r.rows, np.float32)),
                         put(r.z), 0)
    module.launch(module.file.find("route_sigmoid_backward_kernel"), (divide_up(r.rows, WARPS),), (32, WARPS),
                  [[("P", dz), ("P", put(dw)), routes]])
    dot = (r.weights * dw).sum(1, keepdims=True) / r.scale if r.renormalises else 0
    own = r.weights * (1 - np.take_along_axis(sigmoid(r.z), r.order, 1)) * (dw - dot)
    want = np.zeros((r.rows, r.experts))
    np.put_along_axis(want, r.order, own, 1)
    return expect_near("dlogits", get(dz, (r.rows, r.experts), np.float32), want, 8e-6, 1e-6)


def sort(bench, count, experts, alone=False):
    """alone: all choices are for one expert."""
    module = bench.module("experts_route")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    choices = np.full(count, 2) if alone else bench.random.integers(0, experts, count)
    runs = divide_up(count, RUN)
    places, sources, starts = room(count, np.int32), room(count, np.int32), room(experts + 1, np.int32)
    arguments = [[("P", places), ("P", sources), ("P", starts), ("P", put(choices.astype(np.int32))),
                  ("P", room((experts, runs), np.uint32)), ("P", room(experts, np.uint32)), ("q", count), ("i", experts),
                  ("i", runs), ("i", experts.bit_length())]]
    grid, tables = (divide_up(runs, WARPS),), WARPS * (experts + 1) * 4
    module.launch(module.file.find("count_kernel"), grid, (32, WARPS), arguments, tables)
    module.launch(module.file.find("scan_kernel"), (experts,), (32,), arguments)
    module.launch(module.file.find("place_kernel"), grid, (32, WARPS), arguments, tables)
    order = np.argsort(choices, kind="stable")
    expect_same("starts", get(starts, experts + 1, np.int32), np.searchsorted(choices[order], np.arange(experts + 1)))
    expect_same("sources", get(sources, count, np.int32), order)
    return expect_same("places", get(places, count, np.int32), np.argsort(order))


class Rows:
    """Rows of a type, each at `chosen` places in a random order."""

    def __init__(self, bench, type_, rows, chosen, width):
        self.rows, self.chosen, self.width = rows, chosen, width
        self.n = type_.vector if width % type_.vector == 0 else 1
        self.places = bench.random.permutation(rows * chosen).astype(np.int32)
        self.weights = bench.normal(rows * chosen)

    def moving(self, y, x, places, weights):
        return [[("P", y), ("P", x), ("P", places), ("P", weights), ("q", self.rows), ("q", self.width),
                 ("i", self.chosen)]]

    def teams(self, pieces):
        threads = whole_warps(pieces, 256)
        together = 256 // threads
        return (divide_up(self.rows, together),), (threads, together)


def spread(bench, t, rows, chosen, width):
    module, r = bench.module("experts_rows"), Rows(bench, t, rows, chosen, width)
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    x, _ = bench.stored(t, (rows, width))
    y = room((rows * chosen, width), t.dtype)
    module.launch(module.file.find("spread_kernel", t.mangled, f"Li{r.n}E"), *r.teams(divide_up(width, r.n * 4)),
                  r.moving(y, put(x), put(r.places), 0))
    want = np.empty((rows * chosen, width), x.dtype)
    want[r.places] = np.repeat(x, chosen, 0)
    return expect_same("y", get(y, want.shape, t.dtype), want)


def collect(bench, t, rows, chosen, width, weighted):
    module, r = bench.module("experts_rows"), Rows(bench, t, rows, chosen, width)
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    x, vx = bench.stored(t, (rows * chosen, width))
    y = room((rows, width), t.dtype)
    module.launch(module.file.find("collect_kernel", t.mangled, f"Li{r.n}E"), *r.teams(divide_up(width, r.n)),
                  r.moving(y, put(x), put(r.places), put(r.weights) if weighted else 0))
    want = ((r.weights[:, None] if weighted else 1) * vx[r.places]).reshape(rows, chosen, width).sum(1)
    return expect_near("y", t.values(get(y, (rows, width), t.dtype)), want, 1.01 * t.rounding, 4e-6)


def collect_gradient(bench, t, rows, chosen, width):
    module, r = bench.module("experts_rows"), Rows(bench, t, rows, chosen, width)
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    dy, vdy = bench.stored(t, (rows, width))
    x, vx = bench.stored(t, (rows * chosen, width))
    in_place, dweights = put(x, writable=True), room(rows * chosen, np.float32)
    arguments = [[("P", in_place), ("P", dweights), ("P", put(dy)), ("P", in_place), ("P", put(r.places)),
                  ("P", put(r.weights)), ("q", rows * chosen), ("q", width), ("i", chosen)]]
    module.launch(module.file.find("collect_backward_kernel", t.mangled, f"Li{r.n}E"),
                  (divide_up(rows * chosen, DOT_WARPS),), (32, DOT_WARPS), arguments)
    of_y = np.repeat(vdy, chosen, 0)
    expect_near("dweights", get(dweights, rows * chosen, np.float32), (of_y * vx[r.places]).sum(1), 2e-6,
                1e-6 * np.sqrt(width))
    want = np.empty_like(vx)
    want[r.places] = r.weights[:, None] * of_y
    smallest = 2.0**-25 if t.name == "f16" else 1e-30
    return expect_near("dx", t.values(get(in_place, x.shape, t.dtype)), want, 1.01 * t.rounding + 1e-7, smallest)


FORWARD, INPUT, WEIGHT = range(3)
PRODUCTS = ["forward", "input", "weight"]
PLAIN = "experts_plain", "grouped_plain_kernel", 64, 256, 8192  # file, kernel, edge of a tile, threads, shared memory
TILES = "experts_tiles", "grouped_tiles_kernel", 128, 256, 65536


def grouped_reference(product, before, a, b, starts, adds):
    """D, of expert after expert; b of WEIGHT has the same rows as a."""
    want = before.copy() if adds else np.zeros_like(before)
    for e in range(len(starts) - 1):
        places = slice(starts[e], starts[e + 1])
        if product == WEIGHT:
            want[e] += a[places].T @ b[places]
        else:
            want[places] += a[places] @ (b[e].T if product == FORWARD else b[e])
    return want


def grouped(bench, t, product, kind, counts, inputs, outputs, adds=False):
    """counts: places of each expert.  dy and y have columns of others before and after theirs."""
    file, name, edge, threads, shared = kind
    module = bench.module(file)
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    experts, places, first, wide = len(counts), int(starts[-1]), 8, outputs + 16
    x, vx = bench.stored(t, (places, inputs))
    w, vw = bench.stored(t, (experts, outputs, inputs))
    y, vy = bench.stored(t, (places, wide))
    dw, out = bench.normal((experts, outputs, inputs)), F32 if product == WEIGHT else t
    size, own = t.size, slice(first, first + outputs)
    if product == FORWARD:
        d, strides, sizes = put(y, writable=True), (inputs, inputs, wide), (places, outputs, inputs)
        pointers = ("P", d + first * size), ("P", put(x)), ("P", put(w))
        want = grouped_reference(product, vy[:, own], vx, vw, starts, adds)
    elif product == INPUT:
        d, strides, sizes = put(x, writable=True), (wide, inputs, inputs), (places, inputs, outputs)
        pointers = ("P", d), ("P", put(y) + first * size), ("P", put(w))
        want = grouped_reference(product, vx, vy[:, own], vw, starts, adds)
    else:
        d, strides, sizes = put(dw, writable=True), (wide, inputs, inputs), (outputs, inputs, places)
        pointers = ("P", d), ("P", put(y) + first * size), ("P", put(x))
        want = grouped_reference(product, dw.astype(float), vy[:, own], vx, starts, adds)
    arguments = [[*pointers, ("P", put(starts)), *(("q", s) for s in strides), ("i", experts),
                  *(("i", s) for s in sizes), ("?", adds)]]
    kernel = module.file.find(name, f"L15grouped_product{product}E", t.mangled, *grouped_types(t, out))
    columns = divide_up(sizes[1], edge)
    grid = ((divide_up(sizes[0], edge) * columns, experts) if product == WEIGHT
            else ((places // edge + min(experts, places)) * columns,))
    module.launch(kernel, grid, (threads,), arguments, shared)
    found = get(d, {FORWARD: y.shape, INPUT: x.shape, WEIGHT: dw.shape}[product], out.dtype)
    if product == FORWARD:
        others = np.r_[0:first, first + outputs : wide]
        expect_same("columns of others", found[:, others], y[:, others])
        found = found[:, own]
    return expect_near("D", out.values(found), want, 1.01 * out.rounding, 3e-6 * np.sqrt(max(sizes[2], 1)))


def grouped_types(t, out):
    """The mangled type of D after that of A and B."""
    if out is not t:
        return (out.mangled,)
    return ("f",) if t is F32 else ("S1_",)


def grouped_cases():
    counts = [3, 0, 130, 1, 0, 70] + [0] * 40 + [2]
    for t in TYPES:
        for product, word in enumerate(PRODUCTS):
            for adds in (False, True):
                name = f"{t.name} {word}{' adds' if adds else ''}"
                arguments = t, product, PLAIN, [5, 0, 70, 1], 37, 21, adds
                yield f"grouped plain {name}", "sm_80", lambda b, a=arguments: grouped(b, *a)
                if t is F32:
                    continue
                arguments = t, product, TILES, counts, 152, 136, adds
                yield f"grouped tiles {name}", "sm_80", lambda b, a=arguments: grouped(b, *a)


SEEDS = [0, 1, 2]
FAST = {"route 6 of 2 renormalised True", "sort 700 for 9"}


def cases():
    """(name, architecture, function of a bench)."""
    for experts, chosen in ((6, 2), (70, 5)):
        for sums_to_one in (True, False):
            name = f"{experts} of {chosen} renormalised {sums_to_one}"
            yield f"route {name}", "sm_80", lambda b, e=experts, k=chosen, s=sums_to_one: route(b, 5, e, k, s)
            yield (f"route gradient {name}", "sm_80",
                   lambda b, e=experts, k=chosen, s=sums_to_one: route_gradient(b, 5, e, k, s))
    for experts, chosen, groups in ((6, 2, 1), (70, 5, 1), (64, 6, 8)):
        for sums_to_one in (True, False):
            name, shape = f"{experts} in {groups} of {chosen} renormalised {sums_to_one}", (experts, chosen, groups, sums_to_one)
            yield f"route sigmoid {name}", "sm_80", lambda b, s=shape: route_sigmoid(b, *s)
            yield f"route sigmoid gradient {name}", "sm_80", lambda b, s=shape: route_sigmoid_gradient(b, *s)
    for count, experts in ((1, 3), (700, 9), (2100, 128), (66000, 4)):
        yield f"sort {count} for {experts}", "sm_80", lambda b, n=count, e=experts: sort(b, n, e)
    yield "sort for one expert", "sm_80", lambda b: sort(b, 600, 5, True)
    for t in TYPES:
        for chosen, width in ((2, 256), (8, 1100), (3, 77)):
            name = f"{t.name} {chosen} x {width}"
            arguments = t, 5, chosen, width
            yield f"spread {name}", "sm_80", lambda b, a=arguments: spread(b, *a)
            yield f"collect {name}", "sm_80", lambda b, a=arguments: collect(b, *a, a[3] != 77)
            yield f"collect gradient {name}", "sm_80", lambda b, a=arguments: collect_gradient(b, *a)
    yield from grouped_cases()
