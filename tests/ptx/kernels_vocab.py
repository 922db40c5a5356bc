"""kernels_vocab.py - embedding and its gradient, cross-entropy, distillation: cases against references in f64."""
import numpy as np

from bench import F16, F32, TYPES, divide_up, expect_near, expect_same, whole_warps

NO_KEY = np.uint64(2**64 - 1)


def embedding(bench, type_, rows, width, vocabulary=37):
    module = bench.module("vocab")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    w, _ = bench.stored(type_, (vocabulary, width))
    tokens = bench.random.integers(0, vocabulary, rows).astype(np.int32)
    tokens[1], tokens[2] = -1, vocabulary  # unknown: rows of NaN
    x = room((rows, width), w.dtype)
    n = type_.vector if width % type_.vector == 0 else 1
    threads = whole_warps(divide_up(width, n * 4), 256)
    together = 256 // threads
    kernel = module.file.find("embedding_kernel", type_.mangled, f"Li{n}E")
    arguments = [("P", x), ("P", put(w)), ("P", put(tokens)), ("q", rows), ("q", width), ("q", vocabulary)]
    module.launch(kernel, (divide_up(rows, together),), (threads, together), arguments)
    found, known = type_.values(get(x, (rows, width), w.dtype)), (tokens >= 0) & (tokens < vocabulary)
    expect_same("unknown rows", np.isnan(found[~known]), np.ones((2, width), bool))
    return expect_same("rows", get(x, (rows, width), w.dtype)[known], w[tokens[known]])


def sorted_keys(bench, module, tokens, vocabulary):
    """By the kernels that sort; their address."""
    count, run = len(tokens), 64
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    while run < 4096 and run < count:
        run *= 2
    run = min(run, 256)  # shorter than a launch would take, so that few tokens need two merges
    keys, other = room(count, np.uint64), room(count, np.uint64)
    arguments = [("P", keys), ("P", put(tokens)), ("q", count), ("q", vocabulary), ("i", run)]
    module.launch(module.file.find("sort_runs_kernel"), (divide_up(count, run),), (run // 2,), arguments, run * 8)
    while run < count:
        arguments = [("P", other), ("P", keys), ("q", count), ("q", run)]
        module.launch(module.file.find("merge_kernel"), (divide_up(count, 256),), (256,), arguments)
        keys, other, run = other, keys, run * 4
    known = (tokens >= 0) & (tokens < vocabulary)
    places = np.arange(count, dtype=np.uint64)
    want = np.where(known, (tokens.astype(np.int64).astype(np.uint64) << np.uint64(32)) | places, NO_KEY)
    expect_same("sorted keys", get(keys, count, np.uint64), np.sort(want))
    return keys


def embedding_gradient(bench, type_, count, width, vocabulary=23):
    module = bench.module("vocab")
    put, get = module.memory.put, module.memory.get
    tokens = bench.random.integers(0, vocabulary, count).astype(np.int32)
    tokens[3], tokens[4] = vocabulary, -5
    dx, vdx = bench.stored(type_, (count, width))
    before = bench.normal((vocabulary, width))
    dw = put(before, writable=True)
    keys = sorted_keys(bench, module, tokens, vocabulary)
    n = type_.vector if width % type_.vector == 0 else 1
    kernel = module.file.find("embedding_add_kernel", type_.mangled, f"Li{n}E")
    arguments = [("P", dw), ("P", put(dx)), ("P", keys), ("q", count), ("q", width)]
    module.launch(kernel, (count, divide_up(width, 128 * n)), (128,), arguments)
    want, known = before.copy(), (tokens >= 0) & (tokens < vocabulary)
    for token, row in zip(tokens[known], vdx[known].astype(np.float32)):
        want[token] += row  # in f32 and in the order of the tokens: the same bits
    return expect_same("dw", get(dw, before.shape, np.float32), want)


def shaped(x, scale, softcap):
    """Logits as the loss sees them, and their slope."""
    if not softcap:
        return scale * x, np.full_like(x, scale)
    t = np.tanh(scale * x / softcap)
    return softcap * t, scale * (1 - t * t)


def loss_data(bench, source, rows, vocabulary):
    logits, values = bench.stored(source, (rows, vocabulary), 3.0)
    targets = bench.random.integers(0, vocabulary, rows).astype(np.int32)
    weights = bench.random.uniform(0.5, 1.5, rows).astype(np.float32)
    weights[1] = 0
    return logits, values, targets, weights


def cross_entropy(bench, types, rows, vocabulary, misaligned=0, scale=1.0, softcap=0.0, gradient=0.25):
    source, out = types
    module = bench.module("cross_entropy")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    logits, values, targets, weights = loss_data(bench, source, rows, vocabulary)
    losses, dlogits = room(rows, np.float32), room((rows, vocabulary), out.dtype, misaligned)
    n = 1 if misaligned else 4
    threads = whole_warps(divide_up(vocabulary, 16 // source.size * n), 1024)
    kind = "12plain_logits" if scale == 1 and not softcap else "13shaped_logits"
    parts = [source.mangled, out.mangled]
    if source is out and out is not F32:
        parts[1] = "S1_"
    kernel = module.file.find("cross_entropy_kernel", kind, *parts, f"Li{n}E")
    call = [("P", losses), ("P", dlogits), ("P", put(logits)), ("P", put(targets)), ("P", put(weights)),
            ("q", vocabulary), [("f", 2 * gradient), ("f", scale), ("f", softcap), ("P", put(np.float32([0.5])))]]
    module.launch(kernel, (rows,), (threads,), [call], threads // 32 * 8)
    z, slope = shaped(values, scale, softcap)
    most = z.max(1, keepdims=True)
    total = np.exp(z - most).sum(1, keepdims=True)
    each = np.arange(rows)
    want = weights * (np.log(total[:, 0]) + most[:, 0] - z[each, targets])
    expect_near("losses", get(losses, rows, np.float32), want, 2e-6, 4e-6)
    probabilities = np.exp(z - most) / total
    probabilities[each, targets] -= 1
    want = gradient * weights[:, None] * probabilities * slope
    found = out.values(get(dlogits, (rows, vocabulary), out.dtype))
    smallest = 2.0**-25 if out is F16 else 1e-9
    return expect_near("dlogits", found, want, 1.02 * out.rounding + 2e-5, smallest + 3e-7)


def distillation(bench, out, rows, vocabulary, num_ids, softcap=0.0):
    module = bench.module("distill")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    logits, values, targets, weights = loss_data(bench, F32, rows, vocabulary)
    temperature, share, gradient = 2.0, 0.7, 0.5
    teacher = bench.random.standard_normal((rows, vocabulary))
    teacher -= np.log(np.exp(teacher).sum(1, keepdims=True))
    ids = np.argsort(-teacher, 1)[:, :num_ids].astype(np.int32)
    targets[2] = ids[2, 0]
    logps = np.take_along_axis(teacher, ids, 1).astype(np.float32)
    losses, divergences = room(rows, np.float32), room(rows, np.float32)
    dlogits = room((rows, vocabulary), out.dtype)
    call = [("P", losses), ("P", divergences), ("P", dlogits), ("P", put(logits, writable=True)), ("P", put(targets)),
            ("P", put(ids)), ("P", put(weights)), ("P", put(logps)), ("q", vocabulary), ("i", num_ids),
            [[("f", gradient), ("f", 1.0), ("f", softcap), ("P", 0)], ("f", temperature), ("f", share)]]
    threads = whole_warps(vocabulary, 512)
    kernel = module.file.find("distill_kernel", out.mangled)
    module.launch(kernel, (rows,), (threads,), [call], num_ids * 8 + 128)
    return check_distillation(module, (losses, divergences, dlogits), out, weights,
                              distillation_reference(values, targets, ids, logps, softcap, temperature, share), gradient)


def distillation_reference(x, targets, ids, logps, softcap, temperature, share):
    """Cross-entropies, divergences, and the gradient of their mixture: share T^2 times the divergence's."""
    z, slope = shaped(x, 1.0, softcap)
    each = np.arange(len(z))
    logq = z - np.log(np.exp(z).sum(1, keepdims=True))
    logq_t = z / temperature - np.log(np.exp(z / temperature).sum(1, keepdims=True))
    p, q = np.exp(logps.astype(float)), np.exp(np.take_along_axis(logq_t, ids, 1))
    rest_p, rest_q = 1 - p.sum(1), 1 - q.sum(1)
    divergence = (p * (logps - np.log(q))).sum(1) + rest_p * np.log(rest_p / rest_q)
    taught = np.exp(logq_t) * (1 - rest_p / rest_q)[:, None]
    np.put_along_axis(taught, ids, q - p, 1)
    own = np.exp(logq)
    own[each, targets] -= 1
    return -logq[each, targets], divergence, ((1 - share) * own + share * temperature * taught) * slope


def check_distillation(module, places, out, weights, reference, gradient):
    get, rows = module.memory.get, len(weights)
    losses, divergences, dlogits = reference
    expect_near("losses", get(places[0], rows, np.float32), weights * losses, 2e-6, 4e-6)
    expect_near("divergences", get(places[1], rows, np.float32), weights * divergences, 2e-5, 1e-5)
    found = out.values(get(places[2], dlogits.shape, out.dtype))
    want = gradient * weights[:, None] * dlogits
    return expect_near("dlogits", found, want, 1.02 * out.rounding + 5e-5, 2e-6)


FAST = set()


def cases():
    """(name, architecture, function of a bench)."""
    for t in TYPES:
        for width in (256, 1100, 77):
            yield f"embedding {t.name} {width}", "sm_80", lambda b, t=t, w=width: embedding(b, t, 11, w)
            yield (f"embedding gradient {t.name} {width}", "sm_80",
                   lambda b, t=t, w=width: embedding_gradient(b, t, 1500 if w == 77 else 150, w))
        for softcap in (0.0, 3.0):
            yield (f"distillation {t.name} capped {softcap}", "sm_80",
                   lambda b, t=t, s=softcap: distillation(b, t, 5, 700, 33, s))
    for source in TYPES:
        for out in TYPES:
            kinds = {"plain": {}, "odd": {"misaligned": out.size}, "scaled": {"scale": 0.25}, "capped": {"softcap": 5.0},
                     "capped odd": {"softcap": 5.0, "misaligned": out.size}}
            for kind, options in kinds.items():
                size = 1003 if "odd" in kind else 9000
                yield (f"cross-entropy {source.name} to {out.name} {kind}", "sm_80",
                       lambda b, t=(source, out), o=options, v=size: cross_entropy(b, t, 4, v, **o))
