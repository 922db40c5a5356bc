/* run_lock.h - one program at a time in a run folder: `train` for as long as it runs, `submit` and a job's
 * `chain` while they write there.
 *
 * The lock is the kernel's, on RUN/lock: it goes with the process, however that ends.  In the file stands who
 * has it, for those that are refused; and for file systems whose locks do not reach other hosts, where the
 * facts of a lock that was left decide: the same host (it is free, for a lock was had), a job (squeue is
 * asked). */
#pragma once

#include "kernels/error.h"

enum run_work { RUN_WORK_TRAIN, RUN_WORK_SUBMIT, RUN_WORK_CHAIN };

enum { RUN_OWNER_ROOM = 128 };

/* Who has a run folder. */
struct run_owner {
    char user[RUN_OWNER_ROOM], host[RUN_OWNER_ROOM];
    char job[RUN_OWNER_ROOM]; /* Slurm's id; "" outside a job */
    int64_t pid, started;     /* seconds since 1970 */
};

struct run_lock {
    char *path; /* of the lock; NULL: not taken */
    int file;
    bool made_folder;
    uint64_t folder_device, folder_inode; /* of the run folder */
};

enum run_lock_answer {
    RUN_LOCK_TAKEN = 0,
    RUN_LOCK_FAILED = -1, /* the folder or the file cannot be made or opened */
    RUN_LOCK_REFUSED = 1  /* another's; err names the owner */
};

/* run_lock_take - the folder is made where it is not there; another's lock is waited for up to wait_s.  On a
 * file system without locks the folder is had unless the facts say otherwise.  run_lock_release - and the
 * folder goes again where taking made it and nothing came into it; harmless on a zeroed lock. */
enum run_lock_answer run_lock_take(struct run_lock *lock, const char *run_folder, enum run_work work,
                                   double wait_s, struct err *err);
void run_lock_release(struct run_lock *lock);

/* run_lock_check - what stands at the path now is still the folder that was locked, and in it no other lock: a
 * folder can be moved, or removed, under a run, and another put in its place.  Where that cannot be told, it is
 * taken to be.  Returns 0, or -1 with err set: the path, what stands there now, and where the locked folder is. */
int run_lock_check(const struct run_lock *lock, struct err *err);

/* run_lock_owns - the same as an answer, of a struct run_lock: for who writes there and is below this room. */
bool run_lock_owns(const void *lock);

/* run_lock_is_held - whether another process works in the folder, and who; changes nothing there, and needs
 * no more than to read it.  owner's user is "" where that is not told. */
bool run_lock_is_held(const char *run_folder, struct run_owner *owner);

/* run_owner_read - who has the lock, as its file says.  False: nobody, or not told. */
bool run_owner_read(struct run_owner *owner, const char *run_folder);

/* run_owner_text - "user 'x' (job 12 on host n1, started 2026-01-02 03:04:05)", into room; returns it. */
const char *run_owner_text(const struct run_owner *owner, char *room, size_t room_bytes);
