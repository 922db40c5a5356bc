/* command_file.c - RUN/command and the mark of a stop: written, looked for, cleared. */
#include "slurm/command_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoints/files.h"
#include "data/file.h"

/* A longer word is not a command. */
enum { COMMAND_ROOM = 64 };

/* in_folder - malloc'ed. */
static char *in_folder(const char *run_folder, const char *name) {
    return xasprintf("%s/%s", run_folder, name);
}

int command_file_write(const char *run_folder, enum run_command command, struct err *err) {
    const char *word = command == RUN_COMMAND_STOP ? "stop\n" : "save\n";
    char *path = in_folder(run_folder, "command");
    int status = file_replace_shared(path, word, strlen(word), err);
    free(path);
    return status;
}

/* read_word - the first word of the file into room; false where there is no file, or none in it yet: somebody
 * may be writing it by hand. */
static bool read_word(const char *path, char room[COMMAND_ROOM]) {
    int fd = file_open_read(path, NULL, NULL);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, room, COMMAND_ROOM - 1);
    close(fd);
    room[length > 0 ? length : 0] = '\0';
    size_t start = strspn(room, " \t\r\n");
    memmove(room, room + start, strlen(room + start) + 1);
    room[strcspn(room, " \t\r\n")] = '\0';
    return room[0] != '\0';
}

/* What cannot be understood is removed, so that it is said once and not after every step. */
enum run_command command_file_poll(const char *run_folder) {
    enum run_command command = RUN_COMMAND_NONE;
    char word[COMMAND_ROOM], *path = in_folder(run_folder, "command");
    if (read_word(path, word)) {
        if (strcmp(word, "stop") == 0) {
            command = RUN_COMMAND_STOP;
        } else if (strcmp(word, "save") == 0) {
            command = RUN_COMMAND_SAVE;
        } else {
            warn("'%s' holds neither 'stop' nor 'save': ignored", path);
            unlink(path);
        }
    }
    free(path);
    return command;
}

void command_file_clear(const char *run_folder) {
    char *path = in_folder(run_folder, "command");
    if (unlink(path) != 0 && errno != ENOENT)
        warn("cannot remove '%s': %s", path, strerror(errno));
    free(path);
}

/* In a chain the mark outlives the jobs: one that was queued before the stop must stop as well.  A start by hand is meant to
 * run, and takes the mark away. */
int command_file_begin(const char *run_folder, bool in_chain, struct err *err) {
    if (in_chain && stop_mark_is_set(run_folder))
        return command_file_write(run_folder, RUN_COMMAND_STOP, err);
    command_file_clear(run_folder);
    return in_chain ? 0 : stop_mark_clear(run_folder, err);
}

int stop_mark_set(const char *run_folder, struct err *err) {
    char *path = in_folder(run_folder, "stop");
    int status = file_replace_shared(path, "", 0, err);
    free(path);
    return status;
}

int stop_mark_clear(const char *run_folder, struct err *err) {
    char *path = in_folder(run_folder, "stop");
    int status = unlink(path) == 0 || errno == ENOENT
                     ? 0
                     : err_set(err, "cannot remove '%s': %s", path, strerror(errno));
    free(path);
    return status;
}

bool stop_mark_is_set(const char *run_folder) {
    char *path = in_folder(run_folder, "stop");
    bool is_set = path_exists(path);
    free(path);
    return is_set;
}
