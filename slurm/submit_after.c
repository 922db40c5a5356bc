/* submit_after.c - see submit_after.h. */
#include "slurm/submit_after.h"

#include <stdlib.h>
#include <string.h>

#include "slurm/chain.h"
#include "slurm/submit_folder.h"

/* is_id - a job's number, and not a folder's name. */
static bool is_id(const char *text) {
    return text[0] && strlen(text) < SLURM_ID_ROOM && strspn(text, "0123456789") == strlen(text);
}

/* job_of_run - the newest job of a run folder into id; "" where it is done.  Returns 0, or -1 after an error. */
static int job_of_run(const char *folder, char id[SLURM_ID_ROOM], struct remarks *remarks) {
    struct chain chain;
    struct err err = {""};
    jobs_last(folder, id);
    if (!id[0])
        return remark(
            remarks, REMARK_ERROR,
            "'slurm.after' names '%.200s', which has no submitted job: submit that run first, or give the "
            "number of a job",
            folder);
    if (chain_load(&chain, folder, &err) != 0)
        return remark(remarks, REMARK_ERROR, "'slurm.after' names '%.200s': %.300s", folder, err.text);
    int status = 0;
    if (chain.state == CHAIN_DONE) {
        remark(remarks, REMARK_NOTE, "'%.200s' of slurm.after is done: nothing to wait for", folder);
        id[0] = '\0';
    } else if (chain.state == CHAIN_STOPPED) {
        status = remark(remarks, REMARK_ERROR, "'%.200s' of slurm.after has not come to its end: %.200s",
                        folder, chain.reason);
    } else if (chain.follows) {
        status = remark(
            remarks, REMARK_ERROR,
            "'%.200s' of slurm.after is a chain, whose last job is not submitted yet: wait until it is "
            "done, or submit that run without --chain, so that it is requeued under one number",
            folder);
    }
    chain_release(&chain);
    return status;
}

char *submit_after(const struct config *config, struct remarks *remarks) {
    const struct slurm_config *asked = &config->slurm;
    char *ids = NULL;
    int status = 0;
    for (int i = 0; i < asked->num_after; i++) {
        char id[SLURM_ID_ROOM] = "";
        const char *entry = asked->after[i].text;
        if (is_id(entry))
            memcpy(id, entry, strlen(entry) + 1);
        else
            status |= job_of_run(entry, id, remarks);
        if (!id[0])
            continue;
        char *longer = ids ? xasprintf("%s:%s", ids, id) : xstrdup(id);
        free(ids);
        ids = longer;
    }
    if (status == 0)
        return ids;
    free(ids);
    return NULL;
}
