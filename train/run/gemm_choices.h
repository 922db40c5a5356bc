/* gemm_choices.h - run.gemm_choices: which of cuBLASLt's algorithms multiplies what.
 *
 * cuBLASLt's first proposal for a product is a guess.  With a file to keep choices in, the run rehearses
 * before its first step: forward and backward of made-up tokens with the run's own weights, on all ranks, as
 * the transfers between them need everybody.  Meanwhile the root times several algorithms for every product
 * that has no choice yet.  Timings scatter, so its choices alone count: all ranks take them over, and the
 * file keeps them.  The first step already computes with the choices that every later one has, and so does
 * another run with the same file, bit for bit.  A shape that the rehearsal has not met takes the first
 * proposal: nothing is measured once steps run.
 *
 * 'auto', the default, is a file for each kind of GPU and version of cuBLASLt in the user's cache folder; one that cannot be
 * written or read there is said, and the choices stay with the run.
 *
 * A run also keeps its choices in its own folder (GEMM_CHOICES_COPY), as the bits of its steps depend on them: a resumed one goes
 * on with those it began with, whatever has become of the file, and one that began without, without. */
#pragma once

#include "train/run/trainer_setup.h"

#define GEMM_CHOICES_COPY "gemm_choices"

/* gemm_choices_load - with the device open, before anything large is read: what is wrong with a file that the run names, or
 * its folder, is told here.  gemm_choices_complete - with weights and feeds ready: the rehearsal, unless
 * the run computes on CPUs or chooses nothing; gradients are left for the first step to overwrite.  Both
 * return true on all ranks, or false on all when the file cannot be read or written, which the root has said.
 * Collective.  gemm_choices_release - what load has made. */
bool gemm_choices_load(struct trainer *t);
bool gemm_choices_complete(struct trainer *t);
void gemm_choices_release(struct trainer *t);
