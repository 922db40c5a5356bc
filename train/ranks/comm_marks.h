/* comm_marks.h - how far the ranks of this host are, where MPI cannot be asked: before it has started, while
 * it ends.
 *
 * A page of shared memory holds a mark for each rank of the host: its process and the stage that it has
 * reached.  The kernel says of a process whether it runs, is stopped, or is gone.  Where the launcher does
 * not tell the ranks' places (environment variables of mpirun or srun), or there is no shared memory, nothing
 * is known and nothing is said. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum mark_stage { MARK_ABSENT, MARK_STARTING, MARK_RUNNING, MARK_ENDING };

struct marks;

/* marks_open - before MPI starts; names this rank in messages as far as the launcher tells it.  marks_post -
 * this rank has reached a stage; MARK_RUNNING is reached by all together.  marks_name_rank - its place among
 * all ranks, which a launcher may not tell.  marks_close - frees.  None communicates or fails. */
struct marks *marks_open(void);
void marks_post(struct marks *marks, enum mark_stage stage);
void marks_name_rank(struct marks *marks, int rank);
void marks_close(struct marks *marks);

/* marks_sweep - remove from folder (marks_open: /dev/shm) this user's pages of which no process is left: a
 * start that was killed cannot remove its own.  own: a name that stays, other ranks may be about to use it;
 * NULL: none. */
void marks_sweep(const char *folder, const char *own);

/* marks_missing - the ranks that have not reached the stage, or have and do not run: "rank 2 (process 4711,
 * stopped)", several with commas, or "a rank of another host"; "the other ranks" where nothing is known.
 * Returns text. */
const char *marks_missing(const struct marks *marks, enum mark_stage stage, char *text, size_t room_bytes);

/* marks_describe - of a rank of this host, by its place among all ranks: "process 4711, stopped"; "" where
 * nothing is known.  Returns text. */
const char *marks_describe(const struct marks *marks, int rank, char *text, size_t room_bytes);

/* marks_give_up - this rank has waited too long, and has said so.  marks_given_up - a rank of this host has.
 */
void marks_give_up(struct marks *marks);
bool marks_given_up(const struct marks *marks);

/* marks_speaks - whether this is the first rank of the host that waits in this stage: one is to speak. */
bool marks_speaks(const struct marks *marks, enum mark_stage stage);
