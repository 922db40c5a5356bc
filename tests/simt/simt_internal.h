/* simt_internal.h - what simt_sm90.cpp, simt_tma.cpp and simt_wgmma.cpp share. */
#pragma once

#include "kernels/cuda/dev_sm90.h"

namespace simt {

/* find_mbarrier - the one at that address of the block; fails when there is none.
 * complete_phase - end the phase if nothing is missing any more. */
mbarrier &find_mbarrier(block &b, const char *op, uint32_t address);
void complete_phase(mbarrier &bar);

/* finish_product_logs - at the end of a block: all warps of a warpgroup have issued the same products. */
void finish_product_logs(const block &b);

/* swizzle_address - where TMA and wgmma find the 16 bytes that lie at address without swizzle: the address
 * bits from 4 on are xored with those from 7 on; 1, 2 or 3 of them for 32, 64 or 128 bytes. */
static inline uint32_t swizzle_address(uint32_t address, int swizzle_bytes) {
    uint32_t mask = swizzle_bytes ? (uint32_t)swizzle_bytes / 16 - 1 : 0;
    return address ^ ((address >> 7 & mask) << 4);
}

} // namespace simt
