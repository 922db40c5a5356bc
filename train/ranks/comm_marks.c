/* comm_marks.c - a page that the ranks of a host share, in which each writes how far it has come.  The page lies in
 * /dev/shm under the launcher's name of the job, for this user alone, and loses its name as soon as all have come. */
#include "train/ranks/comm_marks.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kernels/error.h"
#include "kernels/units.h"

enum { MAX_RANKS = 1024, PATH_ROOM = 256, MAX_NAMED = 4 };
static const char FOLDER[] = "/dev/shm";

/* Of one rank.  Each rank writes its own and reads all; no field depends on another, so that no lock is needed. */
struct mark {
    atomic_int process; /* 0: has not come */
    atomic_int stage;
    atomic_int gave_up; /* has waited too long, and said so */
    atomic_int rank;    /* among all ranks, plus 1; 0: not told */
};

struct marks {
    struct mark *all; /* [num_local], shared; NULL: nothing is known */
    int local, num_local;
    int rank, num_ranks; /* of the whole; -1: not told */
    char path[PATH_ROOM];
};

/* number_of - the first of these environment variables that holds a number; -1: none. */
static int number_of(const char *first, const char *second) {
    const char *const names[] = {first, second};
    for (int i = 0; i < 2; i++) {
        const char *text = names[i] ? getenv(names[i]) : NULL;
        char *end;
        long value = text ? strtol(text, &end, 10) : -1;
        if (text && end != text && !*end && value >= 0 && value <= 1 << 24)
            return (int)value;
    }
    return -1;
}

/* slurm_tasks_here - of "2(x3),1" what belongs to this node; -1: not told. */
static int slurm_tasks_here(void) {
    const char *at = getenv("SLURM_STEP_TASKS_PER_NODE");
    int node = number_of("SLURM_NODEID", NULL);
    while (at && *at && node >= 0) {
        int tasks = 0, times = 1, used = 0, more = 0;
        if (sscanf(at, "%d%n", &tasks, &used) != 1)
            return -1;
        at += used;
        if (sscanf(at, "(x%d)%n", &times, &more) == 1 && more > 0)
            at += more;
        if (node < times)
            return tasks;
        node -= times;
        at += *at == ',';
    }
    return -1;
}

/* job_name - the launcher's name of this job, the same on all its ranks and on no other's; false: started
 * alone. */
static bool job_name(char *name, size_t room_bytes) {
    const char *space = getenv("PMIX_NAMESPACE"), *job = getenv("SLURM_JOB_ID"),
               *step = getenv("SLURM_STEP_ID");
    if (space)
        snprintf(name, room_bytes, "%.120s", space);
    else if (job && step)
        snprintf(name, room_bytes, "slurm-%.40s-%.40s", job, step);
    else
        return false;
    for (char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at))
            *at = '-';
    return true;
}

/* map_page - NULL where there is no such memory, or it belongs to somebody else. */
static struct mark *map_page(const char *path, size_t size_bytes) {
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat facts;
    if (file < 0)
        return NULL;
    void *page = MAP_FAILED;
    if (fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_uid == geteuid() &&
        ftruncate(file, (off_t)size_bytes) == 0)
        page = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return page == MAP_FAILED ? NULL : page;
}

/* name_rank_early - for messages before MPI tells the same. */
static void name_rank_early(const struct marks *marks) {
    char host[64] = "", prefix[128];
    if (marks->rank < 0 || marks->num_ranks < 2)
        return;
    gethostname(host, sizeof host - 1);
    snprintf(prefix, sizeof prefix, "rank %d/%d %s", marks->rank, marks->num_ranks, host);
    error_set_prefix(prefix);
}

/* process_state - the kernel's letter: R, S, D, T (stopped), Z; 0: there is no such process. */
static char process_state(int process) {
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *end = strrchr(text, ')'); /* of the program's name, which may hold anything */
    return end && end[1] == ' ' ? end[2] : 0;
}

/* --- pages that nobody needs --- */

/* is_deserted - an open file that is a page of this user's ranks, all of whose processes are gone.  One that
 * no rank has put its process into yet is deserted after an hour: it may just be made. */
static bool is_deserted(int file) {
    struct stat facts;
    struct mark mark;
    bool has_process = false;
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_uid != geteuid() ||
        facts.st_size % (off_t)sizeof mark != 0 || facts.st_size > MAX_RANKS * (off_t)sizeof mark)
        return false;
    for (off_t at = 0; at < facts.st_size; at += (off_t)sizeof mark) {
        if (pread(file, &mark, sizeof mark, at) != (ssize_t)sizeof mark)
            return false;
        int process = atomic_load(&mark.process);
        char state = process ? process_state(process) : 0;
        if (process < 0 || (state && state != 'Z' && state != 'X'))
            return false;
        has_process |= process != 0;
    }
    return has_process || time(NULL) - facts.st_mtime > HOUR_S;
}

void marks_sweep(const char *folder, const char *own) {
    char prefix[64];
    DIR *entries = opendir(folder);
    if (!entries)
        return;
    snprintf(prefix, sizeof prefix, "atelier-%ld-", (long)geteuid());
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || (own && strcmp(entry->d_name, own) == 0))
            continue;
        int file = openat(dirfd(entries), entry->d_name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        if (file < 0)
            continue;
        if (is_deserted(file))
            unlinkat(dirfd(entries), entry->d_name, 0);
        close(file);
    }
    closedir(entries);
}

/* By environment variables alone: nobody can be asked yet.  Where one of them is missing the page is not made, and the ranks
 * wait as they would without it. */
struct marks *marks_open(void) {
    char name[160];
    struct marks *marks = xcalloc(1, sizeof *marks);
    marks->rank = number_of("OMPI_COMM_WORLD_RANK", "SLURM_PROCID");
    marks->num_ranks = number_of("OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS");
    marks->local = number_of("OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID");
    marks->num_local = number_of("OMPI_COMM_WORLD_LOCAL_SIZE", NULL);
    if (marks->num_local < 0)
        marks->num_local = slurm_tasks_here();
    if (!job_name(name, sizeof name) || marks->local < 0 || marks->local >= marks->num_local ||
        marks->num_local > MAX_RANKS)
        return marks;
    name_rank_early(marks);
    snprintf(marks->path, sizeof marks->path, "%s/atelier-%ld-%s", FOLDER, (long)geteuid(), name);
    if (marks->local == 0) /* one of the host */
        marks_sweep(FOLDER, strrchr(marks->path, '/') + 1);
    marks->all = map_page(marks->path, (size_t)marks->num_local * sizeof *marks->all);
    return marks;
}

void marks_name_rank(struct marks *marks, int rank) {
    marks->rank = rank;
    if (marks->all)
        atomic_store(&marks->all[marks->local].rank, rank + 1);
}

void marks_post(struct marks *marks, enum mark_stage stage) {
    if (!marks->all)
        return;
    struct mark *own = &marks->all[marks->local];
    atomic_store(&own->gave_up, 0); /* of an earlier job of that name */
    if (marks->rank >= 0)
        atomic_store(&own->rank, marks->rank + 1);
    atomic_store(&own->process, (int)getpid());
    atomic_store(&own->stage, (int)stage);
    if (stage == MARK_RUNNING) /* all have come, and have the page */
        unlink(marks->path);
}

void marks_close(struct marks *marks) {
    if (marks->all)
        munmap(marks->all, (size_t)marks->num_local * sizeof *marks->all);
    free(marks);
}

/* runs - neither stopped nor ended. */
static bool runs(int process) {
    char state = process_state(process);
    return state && !strchr("TtZX", state);
}

/* has_come - it has reached the stage, and goes on: one that was stopped afterwards is still waited for. */
static bool has_come(const struct mark *mark, enum mark_stage stage) {
    int process = atomic_load(&mark->process);
    return process != 0 && atomic_load(&mark->stage) >= (int)stage && runs(process);
}

/* describe - a mark's process in words, into text. */
static const char *describe(const struct mark *mark, char *text, size_t room_bytes) {
    int process = atomic_load(&mark->process);
    char state = process ? process_state(process) : 0;
    if (!process)
        snprintf(text, room_bytes, "not started");
    else if (!state || state == 'Z' || state == 'X')
        snprintf(text, room_bytes, "process %d, which has ended", process);
    else
        snprintf(text, room_bytes, "process %d%s", process,
                 strchr("Tt", state) ? ", stopped"
                 : state == 'D'      ? ", in a call of the system"
                                     : "");
    return text;
}

const char *marks_describe(const struct marks *marks, int rank, char *text, size_t room_bytes) {
    text[0] = '\0';
    for (int i = 0; marks->all && i < marks->num_local; i++)
        if (atomic_load(&marks->all[i].rank) == rank + 1)
            return describe(&marks->all[i], text, room_bytes);
    return text;
}

/* name_mark - "rank 2", or what can be said of one that has not told its rank. */
static void name_mark(const struct marks *marks, int local, char *text, size_t room_bytes) {
    int rank = atomic_load(&marks->all[local].rank) - 1;
    if (rank < 0 && marks->num_local == marks->num_ranks)
        rank = local;
    if (rank >= 0)
        snprintf(text, room_bytes, "rank %d", rank);
    else
        snprintf(text, room_bytes, "the rank with place %d on this host", local);
}

const char *marks_missing(const struct marks *marks, enum mark_stage stage, char *text, size_t room_bytes) {
    int num_missing = 0;
    size_t used = 0;
    snprintf(text, room_bytes, "%s", marks->all ? "a rank of another host" : "the other ranks");
    for (int i = 0; marks->all && i < marks->num_local; i++) {
        char name[64], what[64];
        if (has_come(&marks->all[i], stage) || num_missing++ >= MAX_NAMED)
            continue;
        name_mark(marks, i, name, sizeof name);
        describe(&marks->all[i], what, sizeof what);
        used += (size_t)snprintf(text + used, room_bytes - used, "%s%s (%s)", used ? ", " : "", name, what);
        if (used >= room_bytes)
            used = room_bytes - 1;
    }
    if (num_missing > MAX_NAMED)
        snprintf(text + used, room_bytes - used, " and %d more", num_missing - MAX_NAMED);
    else if (num_missing == 0 && marks->all && marks->num_local == marks->num_ranks)
        snprintf(text, room_bytes, "MPI itself: all ranks have come");
    return text;
}

void marks_give_up(struct marks *marks) {
    if (!marks->all)
        return;
    atomic_store(&marks->all[marks->local].gave_up, 1);
    unlink(marks->path); /* the job ends: nobody needs the name any more */
}

bool marks_given_up(const struct marks *marks) {
    for (int i = 0; marks->all && i < marks->num_local; i++)
        if (atomic_load(&marks->all[i].gave_up))
            return true;
    return false;
}

bool marks_speaks(const struct marks *marks, enum mark_stage stage) {
    for (int i = 0; marks->all && i < marks->local; i++)
        if (has_come(&marks->all[i], stage))
            return false;
    return true;
}
