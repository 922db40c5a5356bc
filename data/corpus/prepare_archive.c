/* prepare_archive.c - an archive as a folder: each member that is a file is read by the format of its name, or by the source's, in
 * the order of the archive and at any depth of folders.  Members live as long as a batch has documents of them: there may be
 * millions, and only those of the ring are in memory. */
#include <stdlib.h>
#include <string.h>

#include "data/corpus/prepare_batch.h"

enum { MAX_NAMED = 5 }; /* members that are left out, by name; further ones are only counted */

int archive_look(const char *path, struct err *err) {
    struct tar_member member;
    struct tar *tar = tar_open(path, err);
    if (!tar)
        return -1;
    const char *coding = reader_unnamed_coding(tar_reader(tar));
    if (coding)
        warn("'%s' is %s data, which its name does not say: it is read decompressed", path, coding);
    int status = tar_next(tar, &member, err);
    tar_close(tar);
    return status < 0 ? -1 : 0;
}

static void member_release(struct member *member) {
    if (!member || --member->num_users > 0)
        return;
    corpus_file_release(&member->file);
    free(member);
}

void batch_use_member(struct batch *batch, struct member *member) {
    if (batch->num_members > 0 && batch->members[batch->num_members - 1] == member)
        return;
    if (!batch->members)
        batch->members = xcalloc(BATCH_DOCUMENTS, sizeof *batch->members); /* one document each, at least */
    batch->members[batch->num_members++] = member;
    member->num_users++;
}

void batch_release_members(struct batch *batch) {
    for (int i = 0; i < batch->num_members; i++)
        member_release(batch->members[i]);
    batch->num_members = 0;
}

/* close_member - the one that was read. */
static void close_member(struct corpus *corpus) {
    record_stream_close(&corpus->stream);
    member_release(corpus->member);
    corpus->member = NULL;
}

void archive_close(struct corpus *corpus) {
    if (corpus->member)
        close_member(corpus);
    tar_close(corpus->archive);
    corpus->archive = NULL;
    corpus->num_members = 0;
}

/* is_hidden - a file, or one in a folder, whose name begins with a dot. */
static bool is_hidden(const char *name) {
    return name[0] == '.' || strstr(name, "/.") != NULL;
}

/* leave_out - a member of which nothing can be read. */
static void leave_out(struct corpus *corpus, const char *archive, const char *name, const char *why) {
    if (corpus->left_out.num_members++ < MAX_NAMED)
        warn("'%s:%s' left out: %s", archive, name, why);
    if (corpus->left_out.num_members == MAX_NAMED)
        warn("further members of archives that are left out are only counted");
}

/* open_member - a file.  Returns 0, or -1 with err set. */
static int open_member(struct corpus *corpus, const struct tar_member *member, const struct format *format,
                       struct err *err) {
    const struct corpus_file *archive = &corpus->files[corpus->file];
    const struct prepare_source *source = &corpus->sources[archive->source];
    const struct reader_part part = {tar_read_member, corpus->archive, member->size_bytes};
    struct member *opened = xcalloc(1, sizeof *opened);
    *opened = (struct member){.num_users = 1};
    opened->file = (struct corpus_file){.source = archive->source,
                                        .path = xasprintf("%s:%s", archive->path, member->name),
                                        .format = format,
                                        .size_bytes = member->size_bytes,
                                        .packed_by = reader_named_coding(archive->path)};
    corpus->member = opened;
    corpus->num_members++;
    if (source_takes_file(source, &opened->file, err) != 0)
        return -1;
    return record_stream_open_part(&corpus->stream, &opened->file, source, part, err);
}

/* next_member - opens the next one that is read.  Returns 1, 0 at the end of the archive, -1 with err set. */
static int next_member(struct corpus *corpus, struct err *err) {
    const struct corpus_file *archive = &corpus->files[corpus->file];
    enum source_format said = corpus->sources[archive->source].format;
    struct tar_member member;
    int status;
    while ((status = tar_next(corpus->archive, &member, err)) > 0) {
        if (member.is_folder)
            continue;
        if (is_hidden(member.name)) {
            corpus->left_out.num_hidden++;
            continue;
        }
        const struct format *format = said == SOURCE_AUTO ? format_of_name(member.name) : format_of(said);
        if (member.is_file && format)
            return open_member(corpus, &member, format, err) == 0 ? 1 : -1;
        leave_out(corpus, archive->path, member.name,
                  member.is_file ? "its name says no format (the source's format may)"
                                 : "it is a link or a device, not a file");
    }
    if (status == 0 && corpus->num_members == 0)
        return err_set(err, "the archive '%s' holds no file that is read", archive->path);
    return status;
}

int archive_next(struct corpus *corpus, struct raw_record *record, struct err *err) {
    int status;
    if (!corpus->archive && !(corpus->archive = tar_open(corpus->files[corpus->file].path, err)))
        return -1;
    for (;;) {
        if (!corpus->member && (status = next_member(corpus, err)) <= 0)
            return status;
        if ((status = record_stream_next(&corpus->stream, record, err)) != 0)
            return status;
        close_member(corpus);
    }
}
