/* run_lock.c - the lock of a run folder: taking it, who has it, whether it is still there. */
#include "train/run/run_lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/corpus/json.h"
#include "kernels/clock.h"
#include "slurm/slurm.h"

enum { OWNER_MAX_BYTES = 4096, OWNER_TEXT_ROOM = 4 * RUN_OWNER_ROOM };
static const double ASK_TIMEOUT_S = 5, RETRY_S = 0.1;

/* lock_path - malloc'ed. */
static char *lock_path(const char *run_folder) {
    return xasprintf("%s/lock", run_folder);
}

/* --- who --- */

/* put - a text of the owner; what is too long is cut, it is for messages. */
static void put(char room[RUN_OWNER_ROOM], const char *text) {
    snprintf(room, RUN_OWNER_ROOM, "%s", text ? text : "");
}

/* myself - this process, as others will read it. */
static struct run_owner myself(void) {
    struct run_owner owner = {.pid = getpid(), .started = time(NULL)};
    const struct passwd *who = getpwuid(getuid());
    if (who)
        put(owner.user, who->pw_name);
    else
        snprintf(owner.user, sizeof owner.user, "%u", (unsigned)getuid());
    gethostname(owner.host, sizeof owner.host - 1);
    put(owner.job, getenv("SLURM_JOB_ID"));
    return owner;
}

/* owner_line - one line of JSON; malloc'ed. */
static char *owner_line(const struct run_owner *owner, enum run_work work) {
    static const char *const names[] = {"train", "submit", "chain"};
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "work", names[work], "user", owner->user,
                             "host", owner->host, "job", owner->job, "pid", (json_int_t)owner->pid, "started",
                             (json_int_t)owner->started);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL; /* none where a name is not UTF-8 */
    char *line = xasprintf("%s\n", text ? text : "");
    free(text);
    json_decref(root);
    return line;
}

/* take_text - "" where it is absent; false where it is no text. */
static bool take_text(const json_t *object, const char *key, char room[RUN_OWNER_ROOM]) {
    const char *text;
    if (json_get_string_or(object, key, "", &text, NULL) != 0)
        return false;
    put(room, text);
    return true;
}

bool run_owner_read(struct run_owner *owner, const char *run_folder) {
    char text[OWNER_MAX_BYTES], *path = lock_path(run_folder);
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t length = file >= 0 ? read(file, text, sizeof text) : 0;
    if (file >= 0)
        close(file);
    free(path);
    *owner = (struct run_owner){.pid = 0};
    json_t *object = length > 0 ? json_parse_text(text, (size_t)length, "lock", NULL) : NULL;
    bool is_told = json_is_object(object) && take_text(object, "user", owner->user) &&
                   take_text(object, "host", owner->host) && take_text(object, "job", owner->job) &&
                   json_get_int(object, "pid", &owner->pid, NULL) == 0 &&
                   json_get_int(object, "started", &owner->started, NULL) == 0;
    json_decref(object);
    return is_told;
}

const char *run_owner_text(const struct run_owner *owner, char *room, size_t room_bytes) {
    char date[32] = "";
    time_t started = (time_t)owner->started;
    struct tm parts;
    if (localtime_r(&started, &parts))
        strftime(date, sizeof date, "%F %T", &parts);
    if (owner->job[0])
        snprintf(room, room_bytes, "user '%s' (job %s on host %s, started %s)", owner->user, owner->job,
                 owner->host, date);
    else
        snprintf(room, room_bytes, "user '%s' (process %lld on host %s, started %s)", owner->user,
                 (long long)owner->pid, owner->host, date);
    return room;
}

/* refuse - with the owner's name, where the file has it. */
static enum run_lock_answer refuse(const char *run_folder, struct err *err) {
    struct run_owner owner;
    char text[OWNER_TEXT_ROOM];
    if (run_owner_read(&owner, run_folder))
        err_set(err,
                "'%s' belongs to %s: wait for it, end it with 'atelier stop', or choose another run.folder",
                run_folder, run_owner_text(&owner, text, sizeof text));
    else
        err_set(err,
                "'%s' belongs to another process, which did not say who it is: wait for it, or choose "
                "another run.folder",
                run_folder);
    return RUN_LOCK_REFUSED;
}

/* --- a lock that was left --- */

/* job_lives - 1 where squeue has the job, 0 where it has not, -1 where it did not answer. */
static int job_lives(const char *job) {
    struct queue queue;
    if (queue_ask_jobs(&queue, job, ASK_TIMEOUT_S, NULL) != 0)
        return -1;
    int lives = queue_find(&queue, job) != NULL;
    queue_release(&queue);
    return lives;
}

/* is_left - whether the owner that the file names is over.  is_locked: this process has the kernel's lock,
 * which on a good file system is the proof; where locks do not reach other hosts only a job can be asked. */
static bool is_left(const struct run_owner *owner, bool is_locked) {
    struct run_owner me = myself();
    if (strcmp(owner->host, me.host) == 0)
        return is_locked || owner->pid == me.pid ||
               (owner->pid > 0 && kill((pid_t)owner->pid, 0) != 0 && errno == ESRCH);
    if (owner->job[0] && strcmp(owner->job, me.job) == 0)
        return true; /* an earlier start of this very job */
    int lives = owner->job[0] ? job_lives(owner->job) : -1;
    return lives == 0 || (lives < 0 && is_locked);
}

bool run_lock_is_held(const char *run_folder, struct run_owner *owner) {
    char *path = lock_path(run_folder);
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    free(path);
    *owner = (struct run_owner){.pid = 0};
    if (file < 0)
        return false;
    bool is_locked = flock(file, LOCK_SH | LOCK_NB) == 0, is_busy = !is_locked && errno == EWOULDBLOCK;
    close(file); /* whoever starts in this moment waits that long */
    bool is_told = run_owner_read(owner, run_folder);
    return is_busy || (is_told && !is_left(owner, is_locked));
}

/* --- taking --- */

/* open_lock - for writing, or where another user made it for reading, which is enough for a lock.  What a
 * group shares it can lock. */
static int open_lock(const char *path, const char *run_folder, struct err *err) {
    struct stat folder;
    int file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0 && errno == ENOENT) {
        file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (file >= 0 && stat(run_folder, &folder) == 0 && fchmod(file, 0644 | (folder.st_mode & 0022)) != 0)
            warn("cannot give '%s' the folder's permissions: %s", path, strerror(errno));
    }
    if (file < 0 && errno == EACCES)
        file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0)
        err_set(err, "cannot open '%s': %s", path, strerror(errno));
    return file;
}

/* is_in_place - the file that was locked still has its name: its last owner may have removed it meanwhile. */
static bool is_in_place(int file, const char *path) {
    struct stat mine, there;
    return fstat(file, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
           mine.st_dev == there.st_dev;
}

/* What came of one try. */
enum attempt { ATTEMPT_LOCKED, ATTEMPT_WITHOUT, ATTEMPT_BUSY, ATTEMPT_FAILED };

/* attempt - one try; ATTEMPT_WITHOUT: this file system has no locks. */
static enum attempt attempt(int *file, const char *path, const char *run_folder, struct err *err) {
    for (;;) {
        *file = open_lock(path, run_folder, err);
        if (*file < 0)
            return ATTEMPT_FAILED;
        bool is_locked = flock(*file, LOCK_EX | LOCK_NB) == 0;
        if (!is_locked && errno == EWOULDBLOCK) {
            close(*file);
            return ATTEMPT_BUSY;
        }
        if (is_in_place(*file, path))
            return is_locked ? ATTEMPT_LOCKED : ATTEMPT_WITHOUT;
        close(*file);
    }
}

/* pause_s - a signal may end it early, which does no harm. */
static void pause_s(double seconds) {
    struct timespec time = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

/* write_owner - best effort: the lock holds without it. */
static void write_owner(int file, enum run_work work) {
    struct run_owner me = myself();
    char *line = owner_line(&me, work);
    if (ftruncate(file, 0) == 0 && pwrite(file, line, strlen(line), 0) < 0)
        warn("cannot record which process holds the run folder: %s", strerror(errno));
    free(line);
}

/* Two locks in one: the kernel's, which ends with the process, and the owner's name in the file, for file systems where the
 * kernel's does not reach other hosts.  A folder that was made here and holds nothing else in the end goes with the lock. */
enum run_lock_answer run_lock_take(struct run_lock *lock, const char *run_folder, enum run_work work,
                                   double wait_s, struct err *err) {
    double deadline_s = clock_s() + wait_s;
    bool was_there = path_exists(run_folder);
    int file = -1;
    *lock = (struct run_lock){.path = NULL};
    if (folder_create(run_folder, err) != 0)
        return RUN_LOCK_FAILED;
    char *path = lock_path(run_folder);
    enum attempt got = attempt(&file, path, run_folder, err);
    while (got == ATTEMPT_BUSY && clock_s() < deadline_s) {
        pause_s(RETRY_S);
        got = attempt(&file, path, run_folder, err);
    }
    struct run_owner owner;
    enum run_lock_answer answer = got == ATTEMPT_FAILED ? RUN_LOCK_FAILED : RUN_LOCK_TAKEN;
    if (got == ATTEMPT_BUSY)
        answer = refuse(run_folder, err);
    else if (got != ATTEMPT_FAILED && run_owner_read(&owner, run_folder) &&
             !is_left(&owner, got == ATTEMPT_LOCKED)) {
        answer = refuse(run_folder, err);
        close(file);
    }
    if (answer != RUN_LOCK_TAKEN) {
        free(path);
        return answer;
    }
    write_owner(file, work);
    *lock = (struct run_lock){.path = path, .file = file, .made_folder = !was_there};
    struct stat facts;
    if (stat(run_folder, &facts) == 0) {
        lock->folder_device = facts.st_dev;
        lock->folder_inode = facts.st_ino;
    }
    return RUN_LOCK_TAKEN;
}

/* --- is it still there --- */

/* folder_of - the run folder by its name; malloc'ed. */
static char *folder_of(const struct run_lock *lock) {
    return xstrndup(lock->path, strlen(lock->path) - strlen("/lock"));
}

/* place_now - where the locked folder is, as the kernel knows it; malloc'ed, NULL: not known, or removed. */
static char *place_now(const struct run_lock *lock) {
    char place[4096], *link = xasprintf("/proc/self/fd/%d", lock->file);
    ssize_t length = readlink(link, place, sizeof place);
    free(link);
    size_t name = strlen("/lock");
    if (length <= (ssize_t)name || length >= (ssize_t)sizeof place ||
        strncmp(place + length - name, "/lock", name) != 0)
        return NULL;
    return xstrndup(place, (size_t)length - name);
}

/* refuse_lost - the line that names both folders; who: what stands at the path now.  is_same: the folder itself
 * is still there. */
static int refuse_lost(const struct run_lock *lock, const char *folder, bool is_same, const char *who,
                       struct err *err) {
    char *place = place_now(lock);
    if (is_same)
        err_set(err,
                "'%.250s/lock' is not this run's any more: somebody removed it, and %.250s; nothing more is "
                "written there",
                folder, who);
    else if (place)
        err_set(
            err,
            "'%.250s' is not this run's folder any more: that was moved to '%.250s', and %.250s; nothing "
            "more is written there: move it back, or go on from its last checkpoint with run.folder: %.250s",
            folder, place, who, place);
    else
        err_set(err,
                "'%.250s' is not this run's folder any more: that was removed, and %.250s; nothing more is "
                "written there: the run cannot go on from here",
                folder, who);
    free(place);
    return -1;
}

/* By inode: a path may lead to another folder than the one that was locked, and still exist.  Where the disk does not answer
 * nothing is known, and nothing is said: that passes. */
int run_lock_check(const struct run_lock *lock, struct err *err) {
    struct stat folder, mine, there;
    struct run_owner owner;
    char who[OWNER_TEXT_ROOM + 40] = "another folder stands there now", text[OWNER_TEXT_ROOM];
    if (!lock->path || !lock->folder_inode)
        return 0;
    char *path = folder_of(lock);
    bool is_gone = stat(path, &folder) != 0, is_told = is_gone && (errno == ENOENT || errno == ENOTDIR);
    bool is_same = !is_gone && folder.st_dev == lock->folder_device && folder.st_ino == lock->folder_inode;
    bool is_lost = is_told || (!is_gone && !is_same);
    if (is_same && stat(lock->path, &there) == 0 && fstat(lock->file, &mine) == 0)
        is_lost = there.st_dev != mine.st_dev || there.st_ino != mine.st_ino;
    if (is_told)
        snprintf(who, sizeof who, "nothing stands there now");
    else if (is_lost && run_owner_read(&owner, path))
        snprintf(who, sizeof who, "what stands there belongs to %s",
                 run_owner_text(&owner, text, sizeof text));
    int status = is_lost ? refuse_lost(lock, path, is_same, who, err) : 0;
    free(path);
    return status;
}

/* remove_unused - the folder that holds nothing but the lock. */
static void remove_unused(const struct run_lock *lock) {
    char *run_folder = folder_of(lock);
    DIR *folder = opendir(run_folder);
    int num_entries = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        num_entries += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (folder)
        closedir(folder);
    if (num_entries == 1 && unlink(lock->path) == 0)
        rmdir(run_folder);
    free(run_folder);
}

/* The name goes out of the file before the lock is given up: whoever takes it next must not read it as an owner that lives. */
bool run_lock_owns(const void *lock) {
    return run_lock_check(lock, NULL) == 0;
}

void run_lock_release(struct run_lock *lock) {
    if (!lock->path)
        return;
    if (ftruncate(lock->file, 0) != 0 && errno != EINVAL && errno != EBADF)
        warn("'%s' still names this process: %s", lock->path, strerror(errno));
    if (lock->made_folder && run_lock_check(lock, NULL) == 0)
        remove_unused(lock);
    close(lock->file);
    free(lock->path);
    *lock = (struct run_lock){.path = NULL};
}
