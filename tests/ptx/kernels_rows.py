"""kernels_rows.py - norms, gated activations, rotary positions: cases against references in f64."""
import numpy as np

from bench import BF16, F32, TYPES, divide_up, expect_near, expect_same, whole_warps

RMS, RMS_ONCE, LAYER = range(3)
KIND_NAMES = ["rms", "rms once", "layer"]


def rounded(type_, x):
    return type_.values(type_.to_bits(x)).astype(np.float64)


def norm_reference(type_, kind, x, w, bias, offset):
    """y, mean, rstd in f64; the RMSNorm rounds before the weight."""
    mean = x.mean(1) if kind == LAYER else np.zeros(len(x))
    centred = x - mean[:, None]
    rstd = 1 / np.sqrt((centred**2).mean(1) + 1e-5)
    y = centred * rstd[:, None]
    if kind == RMS:
        return rounded(type_, y) * w, mean, rstd
    return y * (w + offset) + (bias if kind == LAYER else 0), mean, rstd


def expect_largest(get, word, bits):
    """The word of a largest magnitude, beside the result's own bits."""
    expect_same("the largest magnitude", get(word, 1, np.uint32), np.uint32([(bits & 0x7FFF).max()]))


def norm_forward(bench, type_, kind, add, rows, width, largest=False):
    module = bench.module("norm")
    put, room = module.memory.put, module.memory.room
    aligned = width % type_.vector == 0
    (a, va), (b, vb) = bench.stored(type_, (rows, width)), bench.stored(type_, (rows, width))
    (w, vw), (bias, vbias) = bench.stored(type_, width, 0.1, 1), bench.stored(type_, width)
    offset = 1.0 if kind == RMS_ONCE else 0.0
    y, total = room(a.shape, a.dtype), room(a.shape, a.dtype)
    rstd, mean, word = room(rows, np.float32), room(rows, np.float32), put(np.zeros(1, np.uint32), writable=True)
    call = [("P", y), ("P", total if add else 0), ("P", rstd), ("P", mean if kind == LAYER else 0), ("P", put(a)),
            ("P", put(b) if add else 0), ("P", put(w)), ("P", put(bias) if kind == LAYER else 0), ("q", rows),
            ("q", width), ("f", 1e-5), ("f", offset), ("P", word if largest else 0)]
    template = *([] if largest else [type_.mangled]), f"Lb{int(add)}E", f"L9norm_kind{kind}E"
    vectors = divide_up(width, type_.vector)
    if aligned and vectors <= 4096:
        threads = whole_warps(divide_up(vectors, 4), 1024)
        together = 4 if threads == 32 else 1
        kernel = module.file.find("norm_forward_largest_kernel" if largest else "norm_forward_kernel", *template)
        module.launch(kernel, (divide_up(rows, together),), (threads, together), [call], threads // 32 * (12 if largest else 8))
    else:
        module.launch(module.file.find("norm_forward_plain_kernel", *template), (rows,), (256,), [call], 64)
    x = rounded(type_, va + vb) if add else va
    reference, means, rstds = norm_reference(type_, kind, x, vw, vbias, offset)
    get = module.memory.get
    expect_near("rstd", get(rstd, rows, np.float32), rstds, 1e-5, 0)
    if add:
        expect_near("sum", type_.values(get(total, a.shape, a.dtype)), x, 0, 0)
    if kind == LAYER:
        expect_near("mean", get(mean, rows, np.float32), means, 1e-5, 1e-6)
    if largest:
        expect_largest(get, word, get(y, a.shape, a.dtype))
    # A value of the RMSNorm near the middle of two may round either way before the weight: two roundings.
    return expect_near("y", type_.values(get(y, a.shape, a.dtype)), reference, 2.2 * type_.rounding + 2e-6, 2e-6)


def norm_backward_reference(x, dy, w, dx, mean, rstd, layer):
    n = (x - mean[:, None]) * rstd[:, None]
    g = dy * w
    mean_g = g.mean(1, keepdims=True) if layer else 0
    return dx + rstd[:, None] * (g - mean_g - n * (g * n).mean(1, keepdims=True)), (dy * n).sum(0)


def norm_backward(bench, type_, layer, rows, width, sms=5, largest=False):
    module = bench.module("norm")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    (x, vx), (dy, vdy), (dx, vdx) = (bench.stored(type_, (rows, width)) for _ in range(3))
    w, vw = bench.stored(type_, width, 0.1, 1)
    mean = vx.mean(1) if layer else np.zeros(rows)
    rstd = 1 / np.sqrt(((vx - mean[:, None]) ** 2).mean(1) + 1e-5)
    partial, place = room((sms, width), np.float32), put(dx, writable=True)
    dw_before = bench.normal(width)
    dw, word = put(dw_before, writable=True), put(np.zeros(1, np.uint32), writable=True)
    call = [("P", place), ("P", put(dy)), ("P", put(x)), ("P", put(w)), ("P", put(rstd.astype(np.float32))),
            ("P", put(mean.astype(np.float32)) if layer else 0), ("P", partial), ("q", rows), ("q", width),
            ("f", 0.0), ("P", word if largest else 0)]
    vectors = width // type_.vector
    shapes = [(2, 768), (4, 512)] if width % type_.vector == 0 else []
    blocks = 0
    for batch, most in shapes:
        if vectors <= batch * most and not blocks:
            threads = whole_warps(divide_up(vectors, batch), most)
            teams = min(divide_up(rows, sms), most // threads)
            blocks = min(divide_up(rows, teams), sms)
            template = *([] if largest else [type_.mangled]), f"Li{batch}E", f"Li{most}E", f"Lb{int(layer)}E"
            kernel = module.file.find("norm_backward_largest_kernel" if largest else "norm_backward_kernel", *template)
            shared = (width + 2 * teams * threads // 32) * 4
            module.launch(kernel, (blocks,), (threads, teams), [call], shared)
    if not blocks:
        blocks = min(rows, sms)
        kernel = module.file.find("norm_backward_plain_kernel", type_.mangled, f"Lb{int(layer)}E")
        module.launch(kernel, (blocks,), (256,), [call], 32)
    arguments = [("P", dw), ("P", partial), ("i", blocks), ("q", width)]
    module.launch(module.file.find("norm_reduce_kernel"), (divide_up(width, 32),), (32, 16), arguments, 2048)
    want_dx, want_dw = norm_backward_reference(vx, vdy, vw, vdx, mean, rstd, layer)
    if largest:
        expect_largest(get, word, get(place, x.shape, x.dtype))
    expect_near("dw", get(dw, width, np.float32), dw_before + want_dw, 1e-5, 2e-5)
    return expect_near("dx", type_.values(get(place, x.shape, x.dtype)), want_dx, type_.rounding * 1.01, 5e-6)


def activation(gate, g):
    """Value and slope."""
    twice, inner = (g, 1) if gate == 0 else (2 * np.sqrt(2 / np.pi) * (g + 0.044715 * g**3),
                                             2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * g**2))
    s = 1 / (1 + np.exp(-twice))
    return g * s, s * (1 + g * (1 - s) * inner)


def gated(bench, type_, gate, backward, rows, width, largest=False):
    module = bench.module("gated")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    x, vx = bench.stored(type_, (rows, 2 * width), 3.0)
    dy, vdy = bench.stored(type_, (rows, width))
    out = room((rows, (1 + backward) * width), x.dtype)
    n = type_.vector if width % type_.vector == 0 else 1
    batch = 2 if backward else 4
    packs = divide_up(width, n)
    threads = whole_warps(divide_up(packs, divide_up(packs, 256 * batch) * batch), 256)
    name = f"gated_{'backward' if backward else 'forward'}_{'largest_' if largest else ''}kernel"
    kernel = module.file.find(name, *([] if largest else [type_.mangled]), f"Li{n}E", f"L4gate{gate}E")
    word = put(np.zeros(1, np.uint32), writable=True)
    call = [("P", out), ("P", put(dy) if backward else 0), ("P", put(x)), ("q", width), ("P", word if largest else 0)]
    module.launch(kernel, (rows, divide_up(packs, threads * batch)), (threads,), [call], threads // 32 * 4 if largest else 0)
    g, up = vx[:, :width], vx[:, width:]
    value, slope = activation(gate, g)
    reference = np.hstack([vdy * up * slope, vdy * value]) if backward else value * up
    found = type_.values(get(out, reference.shape, x.dtype))
    if largest:
        expect_largest(get, word, get(out, reference.shape, x.dtype))
    return expect_near("result", found, reference, 1.01 * type_.rounding + 2e-6, 2e-6)


def rotate(x, cosine, sine, pairs):
    """x [rows, heads, D] turned by [rows, half]."""
    half = cosine.shape[1]
    low, high = (x[..., 0 : 2 * half : 2], x[..., 1 : 2 * half : 2]) if pairs else (x[..., :half],
                                                                                   x[..., half : 2 * half])
    c, s = cosine[:, None], sine[:, None]
    out = x.copy()
    if pairs:
        out[..., 0 : 2 * half : 2], out[..., 1 : 2 * half : 2] = low * c - high * s, high * c + low * s
    else:
        out[..., :half], out[..., half : 2 * half] = low * c - high * s, high * c + low * s
    return out


def rope(bench, type_, pairs, sign, rows, width, half):
    heads, turned, positions = 5, 3, 40
    module = bench.module("rope")
    put, get = module.memory.put, module.memory.get
    x, vx = bench.stored(type_, (rows, heads, width))
    angles = bench.random.uniform(0, 6, (positions, half))
    cosine, sine = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    position = bench.random.integers(0, positions, rows).astype(np.int32)
    place = put(x, writable=True)
    n = type_.vector if width % type_.vector == 0 and half % type_.vector == 0 else 1
    count, groups = divide_up(half, n), divide_up(turned, 4)
    across = min(count, 256)
    down = min(groups, 256 // across)
    deep = min(256 // (across * down), 64, rows)
    tables = [("P", put(cosine)), ("P", put(sine)), ("P", put(position)), ("q", positions), ("i", half),
              ("i", int(pairs)), ("f", sign)]
    call = [("P", place), tables, ("q", rows), ("i", heads * width), ("i", width), ("i", turned)]
    kernel = module.file.find("rope_kernel", type_.mangled, f"Li{n}E")
    module.launch(kernel, (divide_up(rows, deep),), (across, down, deep), [call])
    want = vx.copy()
    angles = cosine[position].astype(float), sign * sine[position].astype(float)
    want[:, :turned] = rotate(vx[:, :turned], *angles, pairs)
    found = type_.values(get(place, x.shape, x.dtype))
    return expect_near("qkv", found, want, 1.01 * type_.rounding, 5e-7)


FAST = {
    "norm forward bf16 rms add 0 width 2048", "norm forward f16 layer add 1 width 256", "norm forward f32 rms add 1 odd width",
    "norm backward bf16 layer 0 width 256", "norm backward f16 layer 1 width 277", "gated silu bf16 forward 768",
    "gated gelu f16 backward 768", "rope bf16 halves 128 64 +1", "rope f16 pairs 64 16 -1",
    "largest of norm forward rms add 1 width 2048", "largest of norm backward layer 0 width 256", "largest of gated silu backward 768",
}


def largest_cases():
    """Kernels that find the largest magnitude of what they write, too."""
    for kind in range(3):
        for add in (0, 1):
            for width in (256, 2048):
                yield (f"largest of norm forward {KIND_NAMES[kind]} add {add} width {width}", "sm_80",
                       lambda b, k=kind, a=add, w=width: norm_forward(b, BF16, k, a, 9, w, largest=True))
    for layer in (0, 1):
        for width in (256, 1024 * BF16.vector, 2048 * BF16.vector):
            yield (f"largest of norm backward layer {layer} width {width}", "sm_80",
                   lambda b, l=layer, w=width: norm_backward(b, BF16, l, 11, w, largest=True))
    for gate in (0, 1):
        for backward in (0, 1):
            for width in (768, 5632, 101):
                name = f"largest of gated {['silu', 'gelu'][gate]} {['forward', 'backward'][backward]} {width}"
                yield name, "sm_80", lambda b, g=gate, k=backward, w=width: gated(b, BF16, g, k, 3, w, largest=True)


def cases():
    """(name, architecture, function of a bench)."""
    yield from largest_cases()
    for type_ in TYPES:
        for kind in range(3):
            for add in (0, 1):
                for width in (256, 2048) if type_ is not F32 else (256, 130):
                    yield (f"norm forward {type_.name} {KIND_NAMES[kind]} add {add} width {width}", "sm_80",
                           lambda b, t=type_, k=kind, a=add, w=width: norm_forward(b, t, k, a, 9, w))
            for add in (0, 1):
                yield (f"norm forward {type_.name} {KIND_NAMES[kind]} add {add} odd width", "sm_80",
                       lambda b, t=type_, k=kind, a=add: norm_forward(b, t, k, a, 3, 277))
        for layer in (0, 1):
            for width in (256, 277, 1024 * type_.vector, 2048 * type_.vector):
                yield (f"norm backward {type_.name} layer {layer} width {width}", "sm_80",
                       lambda b, t=type_, l=layer, w=width: norm_backward(b, t, l, 11, w))
        for gate in (0, 1):
            for backward in (0, 1):
                for width in (768, 5632, 101):
                    name = f"gated {['silu', 'gelu'][gate]} {type_.name} {['forward', 'backward'][backward]} {width}"
                    yield name, "sm_80", lambda b, t=type_, g=gate, k=backward, w=width: gated(b, t, g, k, 3, w)
        for pairs in (0, 1):
            for width, half in ((64, 32), (128, 64), (64, 16), (80, 40), (66, 33)):
                for sign in (1.0, -1.0):
                    yield (f"rope {type_.name} {['halves', 'pairs'][pairs]} {width} {half} {sign:+.0f}", "sm_80",
                           lambda b, t=type_, p=pairs, s=sign, w=width, h=half: rope(b, t, p, s, 7, w, h))
