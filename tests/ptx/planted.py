"""planted.py - faults put into the PTX text: each must be seen by the case that it names."""
import re
from dataclasses import dataclass


@dataclass
class Plant:
    """change: a function of the text.  seed: of the launches; 1: warps run ahead, and copies land late."""

    name: str
    file: str
    case: str
    change: object
    seed: int = 0
    fast: bool = False


def in_kernel(mark, pattern, replacement, count=1):
    """Replace the first `count` places (0: all) inside the first kernel whose name holds `mark`."""

    def change(text):
        pieces = re.split(r"^(?=[^\n]*\.entry )", text, flags=re.M)
        for i, piece in enumerate(pieces):
            if ".entry" in piece.split("\n", 1)[0] and mark in piece.split("\n", 1)[0]:
                piece = re.sub(r"[ \t]*//[^\n]*\n", "", piece)
                pieces[i] = re.sub(pattern, replacement, piece, count=count, flags=re.S)
                break
        return "".join(pieces)

    return change


def later(pattern, skipped):
    """A pattern that matches its last part only after `skipped` earlier places of it."""
    return rf"((?:{pattern}.*?){{{skipped}}}){pattern}"


def of_rows():
    norm, name = "norm forward bf16 rms add 0 width 2048", "norm_forward_kernelI6bf16_tLb0EL9norm_kind0E"
    yield Plant("a missing barrier", "norm", norm, in_kernel(name, r"bar\.sync[^;]*;", ""), 1, True)
    yield Plant("a store one element on", "norm", norm,
                in_kernel(name, r"(st\.global\.v4\.u32 \t?\[%rd\d+)\]", r"\1+2]"), 0, True)
    yield Plant("a store past the end", "norm", norm,
                in_kernel(name, r"(st\.global\.v4\.u32 \t?\[%rd\d+)\]", r"\1+4096]"), 0, True)
    yield Plant("a shuffle with another distance", "norm", norm,
                in_kernel(name, r"(mov\.u32 \t%r\d+, )8;(\s+shfl)", r"\g<1>4;\2"), 0, True)
    yield Plant("a prefetch of a row that is not there", "norm", "norm backward bf16 layer 0 width 8192",
                in_kernel("norm_backward_kernelI6bf16_tLi2ELi768ELb0E", r"(prefetch\.global\.L2 \[%rd\d+)\]", r"\1+1048576]"))
    yield Plant("a missing exponential", "gated", "gated silu bf16 forward 768",
                in_kernel("gated_forward_kernelI6bf16_tLi8EL4gate0E", r"ex2\.approx", "neg"), 0, True)


def of_others():
    yield Plant("another random word", "update", "adamw bf16 to bf16 copied 1 first 3",
                in_kernel("adamw_opI6bf16_tS1_E", r"-766435501|3528531795", "3528531793", 0), 0, True)
    yield Plant("a lost carry", "pointwise", "cast f32 to bf16",
                in_kernel("cast_opI6bf16_tfE", r"cvt\.rn\.bf16x2\.f32 (%r\d+), (%f\d+), (%f\d+)",
                          r"cvt.rn.bf16x2.f32 \1, \3, \2"))
    yield Plant("a token at its neighbour's place", "vocab", "embedding bf16 256",
                in_kernel("embedding_kernelI6bf16_tLi8E", r"(ld\.global\.s?u?32 \t%rd?\d+, \[%rd\d+)\]", r"\1+4]"))
    yield Plant("the sort the other way", "vocab", "embedding gradient bf16 256",
                in_kernel("sort_runs_kernel", r"setp\.gt\.u64", "setp.lt.u64"))
    yield Plant("every token but the target", "cross_entropy", "cross-entropy f32 to bf16 plain",
                in_kernel("plain_logitsf6bf16_tLi4E", r"setp\.eq\.s64", "setp.ne.s64", 0))
    yield Plant("ties of E4M3 away from zero", "fp8", "fp8 cast e4m3 by 8 sm_80",
                in_kernel("fp8_cast_kernelILi0ELi8E", r"-1006108673", "-1006108672", 0), 0, True)
    yield Plant("codes at their neighbours' places", "fp8", "fp8 cast e4m3 by 8 sm_90a",
                in_kernel("fp8_cast_kernelILi0ELi8E", r"(satfinite\.e4m3x2\.f32 \t?%rs\d+, )(%f\d+), (%f\d+)", r"\1\3, \2"), 0, True)
    yield Plant("magnitudes of rows added up", "norm", "largest of norm forward rms add 1 width 2048",
                in_kernel("norm_forward_largest_kernelILb1EL9norm_kind0E", r"atom\.global\.max\.u32", "atom.global.add.u32"), 0, True)
    yield Plant("codes of a column in another order", "fp8", "fp8 cast e5m2 columns alone sm_90a",
                in_kernel("fp8_cast_kernelILi1ELi8E", r"prmt\.b32 (\t%r\d+), (%r\d+), (%r\d+),", r"prmt.b32 \1, \3, \2,", 0))
    yield Plant("the largest of other lanes", "fp8_blocks", "fp8 blocks e4m3 by 8 sm_90a",
                in_kernel("fp8_lines_kernelILi0ELi8E", r"(mov\.[bu]32 \t%r\d+, )2;", r"\g<1>4;", 0))


def of_experts():
    yield Plant("choices after one's own, for those before it", "experts_route", "sort 700 for 9",
                in_kernel("place_kernel", r"not\.b32", "mov.b32"), 0, True)
    yield Plant("a sum over runs that leaves some out", "experts_route", "sort 2100 for 128",
                in_kernel("scan_kernel", r"(mov\.u32 \t%r\d+, )4;(\s+shfl)", r"\g<1>3;\2"))
    yield Plant("the smallest logit of two lanes", "experts_route", "route 6 of 2 renormalised True",
                in_kernel("route_kernel", r"max\.NaN", "min"), 0, True)
    yield Plant("scores without their correction", "experts_route", "route sigmoid 70 in 1 of 5 renormalised True",
                in_kernel("route_sigmoid_kernel", r"setp\.eq\.s64", "setp.ne.s64", 0))
    yield Plant("a row at the place after its own", "experts_rows", "spread bf16 2 x 256",
                in_kernel("spread_kernelI6bf16_tLi8E", r"(ld\.global\.s32 \t%rd\d+, \[%rd\d+)\]", r"\1+4]", 0))
    yield Plant("the weight of another choice", "experts_rows", "collect f32 2 x 256",
                in_kernel("collect_kernelIfLi4E", r"(ld\.global\.f32 \t%f\d+, \[%rd\d+)\]", r"\1+4]"))
    file, case = "experts_tiles", "grouped tiles bf16 forward"
    name = "grouped_tiles_kernelIL15grouped_product0E6bf16_t"
    yield Plant("experts: no wait for a copy", file, case,
                in_kernel(name, r"cp\.async\.wait_group 2;", "cp.async.wait_group 3;"), 1)
    yield Plant("experts: no barrier before a stage is filled again", file, case, in_kernel(name, r"bar\.sync[^;]*;", "", 0), 1)
    yield Plant("experts: rows past an expert's last", file, case,
                in_kernel(name, r"(cp\.async\.cg[^;]*, 16, )%r\d+;", r"\g<1>16;"))
    yield Plant("experts: columns of B exchanged", file, case,
                in_kernel(name, r"(mma\.sync[^;]*\}, )\{(%r\d+), (%r\d+)\}(, \{[^;]*;)", r"\1{\3, \2}\4"))


def of_experts_parts():
    yield Plant("a warp that is left out of a sequence's sums", "experts_counts", "route counts 137 of 3",
                in_kernel("route_count_kernel", r"(setp\.lt\.u32 \t%p\d+, %r\d+, )16;", r"\g<1>1;"), 0, True)
    yield Plant("sums before the other warps have theirs", "experts_counts", "route counts 137 of 3",
                in_kernel("route_count_kernel", r"bar\.sync[^;]*;", ""), 1, True)
    yield Plant("the bias of the expert before", "experts_bias", "bias bf16 264",
                in_kernel("grouped_bias_kernelI6bf16_tLi8E", r"setp\.lt\.u32( \t%p\d+, %r\d+, %r\d+;\s+vote)", r"setp.le.u32\1"))
    yield Plant("sums of a bias before the other warps have theirs", "experts_bias", "bias gradient bf16 264",
                in_kernel("grouped_bias_sums_kernelI6bf16_tLi8E", r"bar\.sync[^;]*;", ""), 1)
    yield Plant("a gradient beyond the limit", "clamped", "clamped gradient f32 from 0",
                in_kernel("clamped_backward_opIf", r"(selp\.f32 \t%f\d+, )0f00000000", r"\g<1>0f3F800000", 0))


def of_flash():
    file, case, name = "attention_forward", "attention forward sm_80 bf16 64 plain", "attention_forwardI6bf16_tLi64E"
    yield Plant("cp.async: a wait for all but one group", file, case,
                in_kernel(name, r"cp\.async\.wait_group 0", "cp.async.wait_group 1", 0), 1, True)
    yield Plant("cp.async: no barrier after the wait", file, case,
                in_kernel(name, r"bar\.sync[^;]*;", "", 0), 1, True)
    yield Plant("ldmatrix: not transposed", file, case, in_kernel(name, r"x4\.trans", "x4"), 0, True)
    yield Plant("mma: halves of B in the other order", file, case,
                in_kernel(name, r"(mma\.sync[^;]*\}, \{%r\d+, %r\d+, %r\d+, %r\d+\}, )\{(%r\d+), (%r\d+)\}", r"\1{\3, \2}"),
                0, True)
    yield Plant("the mask one key further", file, case, in_kernel(name, r"setp\.gt\.u32", "setp.ge.u32", 0), 0)
    yield Plant("a copy to another chunk", file, case,
                in_kernel(name, r"(cp\.async\.cg[^\[]*\[%r\d+)\]", r"\1+16]"), 0)
    yield Plant("a copy half a chunk on", file, case,
                in_kernel(name, r"(cp\.async\.cg[^\[]*\[%r\d+)\]", r"\1+8]"), 0)


def of_hopper():
    file, case = "attention_forward_sm90", "attention forward sm_90a bf16 128 plain"
    name = "attention_forward_sm90INS_7variantI6bf16_tLi128ELi2ELi128ELb0E"

    def plant(what, pattern, replacement, seed=0, count=1, fast=True):
        return Plant("Hopper: " + what, file, case, in_kernel(name, pattern, replacement, count), seed, fast)

    rows, columns = 4611686293305360384, 4611686293372403712  # descriptors of K-major and of MN-major operands
    yield plant("transpose flag of B", r"accumulate, 1, 1, 1;", "accumulate, 1, 1, 0;")
    yield plant("stride offset of K-major rows", f"{rows};", f"{rows - (32 << 32)};", count=0)
    yield plant("leading offset of MN-major columns", f"{columns};", f"{columns - (512 << 16)};", count=0)
    yield plant("swizzle of a descriptor", f"{columns};", f"{columns ^ (3 << 62)};", count=0, fast=False)
    yield plant("a step along k", f"{rows + 2};", f"{rows + 3};")
    yield plant("expected bytes", r"(mov\.u32 \t%r\d+, )32768(;\s+mbarrier\.arrive\.expect)", r"\g<1>16384\2")
    yield plant("no fence before the store of results", r"fence\.proxy\.async[^;]*;", "")
    yield plant("no wait for a product", r"wgmma\.wait_group\.sync\.aligned 0;", "", 1)
    yield plant("a wait for all but one product", later(r"wgmma\.wait_group\.sync\.aligned 0;", 1),
                r"\1wgmma.wait_group.sync.aligned 1;", 1)
    yield plant("no wgmma.fence", r"wgmma\.fence\.sync\.aligned;", "")
    yield plant("no release of a stage", r"mbarrier\.arrive\.shared::cta\.b64 _, \[%r\d+\];", "")
    yield plant("no wait for a stage", later(r"@!done bra again;", 1), r"\1", 1)
    yield plant("more registers than there are", r"(setmaxnreg\.inc\.sync\.aligned\.u32) 240", r"\1 248")
    yield plant("a coordinate of a tensor copy", r"(cp\.async\.bulk\.tensor\.3d\.shared[^{]*\{%r\d+, )(%r\d+), (%r\d+)",
                r"\1\3, \2", fast=False)


def of_volta():
    file, case, name = "attention_sm70", "attention forward sm_70 f16 64 plain", "attention_voltaILi64EL4pass0E"

    def plant(what, pattern, replacement, seed=0, count=1, fast=False):
        return Plant("V100: " + what, file, case, in_kernel(name, pattern, replacement, count), seed, fast)

    yield plant("columns of B taken for rows", r"m8n8k4\.row\.col", "m8n8k4.row.row", fast=True)
    yield plant("halves of B in the other order", r"(mma\.sync[^;]*\}, )\{(%r\d+), (%r\d+)\}(, \{[^;]*;)", r"\1{\3, \2}\4")
    yield plant("accumulators of the next four columns exchanged",
                r"(row\.row[^{]*\{)((?:%f\d+, ){4})((?:%f\d+, ){3}%f\d+)(\}[^;]*;)",
                lambda m: f"{m[1]}{m[3]}, {m[2].rstrip(', ')}{m[4]}")
    yield plant("no barrier before a tile is read", later(r"bar\.sync[^;]*;", 1), r"\1", 1, fast=True)
    yield plant("halves of P from another lane", later(r"shfl\.sync\.bfly", 2), r"\1shfl.sync.idx")
    yield plant("the mask one key further", r"setp\.lt\.u32(\s[^;]*;\s+selp\.f32)", r"setp.le.u32\1", count=0)


def of_turns():
    """The order in which tiles of keys add to the gradient of the queries."""
    file, case = "attention_fused_sm90", "attention fused sm_90a bf16 128 plain"
    name = "attention_fused_sm90I6bf16_tLb0E"

    def plant(what, pattern, replacement, seed=0, fast=False):
        return Plant("one pass: " + what, file, case, in_kernel(name, pattern, replacement), seed, fast)

    share = r"cp\.reduce\.async\.bulk[^;]*;"
    yield plant("nobody waits for a turn", r"(ld\.acquire[^;]*;\s+)setp\.\w+\.[su]32 *\t?(%p\d+), (%r\d+), %r\d+;",
                r"\1setp.ne.s32 \t\2, \3, \3;", fast=True)
    yield plant("a turn that is not given on", r"st\.release\.gpu\.global\.u32[^;]*;", "", fast=True)
    yield plant("a turn given on before the share is written", r"cp\.async\.bulk\.wait_group 0;", "", 1, True)
    yield plant("a share that is stored, not added", share,
                lambda found: found[0].replace("reduce.", "").replace(".add.f32", ""))
    yield plant("dS' not transposed", r"accumulate, 1, 1, 1, 1;", "accumulate, 1, 1, 0, 1;")
    yield plant("shares sent without a fence", later(r"fence\.proxy\.async\.shared::cta;", 1), r"\1")


def of_wide_heads():
    file, case = "attention_keys_wide_sm90", "attention keys sm_90a bf16 192 plain"
    name = "attention_keys_wide_sm90INS_7variantI6bf16_tLi192ELb0E"

    def plant(what, pattern, replacement, count=1):
        return Plant("wide heads: " + what, file, case, in_kernel(name, pattern, replacement, count), 1, False)

    yield plant("no wait for the gradients of values", r"wgmma\.wait_group\.sync\.aligned 0;", "", 2)
    yield plant("no release of a block of queries", r"mbarrier\.arrive\.shared::cta\.b64 _, \[%r\d+\];", "")
    yield plant("keys let go before their gradients have left", r"cp\.async\.bulk\.wait_group\.read 0;", "", 0)


def plants():
    yield from of_turns()
    yield from of_rows()
    yield from of_others()
    yield from of_experts()
    yield from of_experts_parts()
    yield from of_flash()
    yield from of_hopper()
    yield from of_volta()
    yield from of_wide_heads()
