/* submit_modules.c - the list of modules, and the warnings where one of them would bring a second MPI. */
#include "slurm/submit_modules.h"

#include <stdio.h>
#include <string.h>

#include "slurm/program.h"

/* is_bundle - of a program that brings its own libraries, MPI among them. */
static bool is_bundle(const struct job_request *request) {
    return request->facts->build && request->facts->build->is_bundle;
}

/* brings_mpi - an MPI, or what is built with one: openmpi/4.1.5-cuda, intel-mpi, mvapich2, hdf5/1.12.0-mpi.
 */
static bool brings_mpi(const char *module) {
    return strcasestr(module, "mpi") || strncasecmp(module, "mvapich", 7) == 0 ||
           strncasecmp(module, "hpcx", 4) == 0;
}

/* add - to the names; a bundle leaves out what brings another MPI. */
static int add(const char **names, int count, const struct job_request *request,
               const struct text_entry *modules, int num_modules) {
    for (int i = 0; i < num_modules && count < MAX_JOB_MODULES; i++)
        if (!is_bundle(request) || !brings_mpi(modules[i].text))
            names[count++] = modules[i].text;
    return count;
}

/* The run file's list takes the place of the profile's; otherwise the partition's come first, then the site's. */
int submit_modules(const struct job_request *request, const char *names[MAX_JOB_MODULES]) {
    const struct slurm_config *asked = &request->config->slurm;
    if (asked->num_modules > 0)
        return add(names, 0, request, asked->modules, asked->num_modules);
    int count = add(names, 0, request, request->partition->modules, request->partition->num_modules);
    return add(names, count, request, request->site->modules, request->site->num_modules);
}

/* list_mpi - those of a list that bring an MPI, after what is in room: "'a', 'b'". */
static void list_mpi(char *room, size_t room_bytes, const struct text_entry *modules, int count) {
    for (int i = 0; i < count; i++) {
        size_t used = strlen(room);
        if (brings_mpi(modules[i].text))
            snprintf(room + used, room_bytes - used, "%s'%.60s'", used ? ", " : "", modules[i].text);
    }
}

int submit_check_modules(const struct job_request *request, struct diagnostics *diagnostics) {
    const struct slurm_config *asked = &request->config->slurm;
    char left_out[300] = "";
    if (!is_bundle(request))
        return 0;
    if (asked->num_modules > 0) {
        list_mpi(left_out, sizeof left_out, asked->modules, asked->num_modules);
        return left_out[0] ? diagnostic_add(
                                 diagnostics, DIAGNOSTIC_ERROR,
                                 "'slurm.modules' holds %s, but '%.200s' is a bundle with an MPI of its own, "
                                 "which another one would disturb: leave it out",
                                 left_out, request->facts->program)
                           : 0;
    }
    list_mpi(left_out, sizeof left_out, request->partition->modules, request->partition->num_modules);
    list_mpi(left_out, sizeof left_out, request->site->modules, request->site->num_modules);
    if (left_out[0])
        diagnostic_add(diagnostics, DIAGNOSTIC_NOTE,
                       "the program is a bundle with an MPI of its own: not loaded are %s", left_out);
    return 0;
}
