/* run_folder.h - a start enters its run folder. */
#pragma once

#include "train/ranks/comm.h"
#include "train/run/run_lock.h"

/* run_folder_enter - before anything in the folder is looked at: its lock is taken (by the root), no job that was
 * submitted with it waits or runs but the one that this is, and what an earlier start was told is over.  Returns true
 * on all ranks, or false on all when the folder is another's or cannot be made, which the root has said.  Collective.
 * run_lock_release leaves. */
bool run_folder_enter(struct run_lock *lock, const char *run_folder, struct comm *comm);
