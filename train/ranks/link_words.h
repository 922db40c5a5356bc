/* link_words.h - which links the environment leaves to NCCL and to MPI. */
#pragma once

#include <stdbool.h>

/* link_word_against - the variable that keeps a rank from this link ("mlx5_0"), or NULL: NCCL_IB_DISABLE, NCCL_IB_HCA where NCCL
 * moves the data; HFI_UNIT on Omni-Path; UCX_NET_DEVICES where MPI does.  Borrowed, as long as the program runs. */
const char *link_word_against(const char *link, bool uses_nccl);
