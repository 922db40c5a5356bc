/* tokens_h5.h - inside the token file's modules: the facts of a token file that has no seal (tokens_seal.h),
 * asked of HDF5 in a child process.  libhdf5 crashes on damaged files, reads past its buffers and loops; in
 * a child that is a line of text here. */
#pragma once

#include "data/tokens/tokens_facts.h"

/* token_facts_of_hdf5 - returns 0, or -1 with err set: not HDF5, something missing or of the wrong kind, HDF5
 * crashed or took more than a minute, or the file says that it was sealed and has no seal any more. */
int token_facts_of_hdf5(const char *path, int64_t file_bytes, struct token_facts *facts, struct err *err);
