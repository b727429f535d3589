#include "config/config.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "config/build.h"

#define CLUSTER_ID_LEN 22 /* as long as Kafka's own: 16 bytes in base64url */

static void box_free(struct config_box *box)
{
    for (struct secret *s = box->secrets; s; s = s->next)
        explicit_bzero(s->at, s->n);
    arena_release(&box->arena);
    config_unref(box->parent);
    sl_free(box);
}

static struct config_box *box_of(const struct config *c)
{
    union {
        const struct config *given;
        struct config_box *box;
    } same = {.given = c}; /* its first member; constant for those who read it alone */
    return same.box;
}

struct config *config_ref(const struct config *c)
{
    struct config_box *box = box_of(c);
    atomic_fetch_add_explicit(&box->refs, 1, memory_order_relaxed);
    return &box->config;
}

void config_unref(const struct config *c)
{
    if (c && atomic_fetch_sub_explicit(&box_of(c)->refs, 1, memory_order_acq_rel) == 1)
        box_free(box_of(c));
}

const struct strings *config_warnings(const struct config *c)
{
    return &box_of(c)->warnings;
}

/* FNV-1a, for a name that stays the same; nothing depends on its strength. */
static uint64_t hash(const char *text, uint64_t seed)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    h ^= h >> 32;
    return h * UINT64_C(0x9E3779B97F4A7C15);
}

static const char *made_cluster_id(struct build *b, const struct endpoint *advertise)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char text[300], id[CLUSTER_ID_LEN + 1];
    snprintf(text, sizeof(text), "%s:%u", advertise->host, (unsigned)advertise->port);
    uint64_t half[2] = {hash(text, 0), hash(text, 1)};
    for (unsigned i = 0; i < CLUSTER_ID_LEN; i++)
        id[i] = letters[(half[i / 11] >> (i % 11 * 5)) & 63];
    id[CLUSTER_ID_LEN] = '\0';
    return config_keep(b, id, CLUSTER_ID_LEN);
}

static unsigned cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? (unsigned)n : 1;
}

static void complete(struct build *b, struct config *c)
{
    if (!c->workers)
        c->workers = cores();
    if (!c->cluster_id && c->advertise.host)
        c->cluster_id = made_cluster_id(b, &c->advertise);
}

static void keep_warnings(struct build *b, struct strings *out)
{
    struct report *r = b->report;
    report_sort(r);
    out->at = arena_alloc(b->arena, (r->count + 1) * sizeof(*out->at));
    for (size_t i = 0; out->at && i < r->count; i++)
        if (r->notes[i].warning)
            out->at[out->count++] = r->notes[i].text;
    b->nomem |= !out->at;
}

/* The folder of the file, absolute, without a trailing slash but for the root. */
static bool folder_of(const char *file, char out[CONFIG_PATH_BYTES])
{
    char cwd[CONFIG_PATH_BYTES] = "";
    const char *slash = strrchr(file, '/');
    size_t n = slash ? (size_t)(slash - file) : 0;
    if (*file != '/' && !getcwd(cwd, sizeof(cwd)))
        return false;
    int len = snprintf(out, CONFIG_PATH_BYTES, "%s%s%.*s", cwd, *cwd && n ? "/" : "", (int)n, file);
    if (len == 0)
        out[0] = '/', out[1] = '\0';
    return len >= 0 && len < CONFIG_PATH_BYTES;
}

/* development decides what other options take, wherever it stands. */
static bool peek_development(const struct yaml *y)
{
    const json_t *node = json_object_get(y->root, "development");
    return yaml_plain(y, node) && strcmp(json_string_value(node), "true") == 0;
}

static int fill(struct config_box *box, const char *text, size_t n, bool files, struct report *r,
                const char *folder)
{
    struct yaml yaml;
    struct build *b = arena_zalloc(&box->arena, sizeof(*b));
    if (!b)
        return ERR_NOMEM;
    int err = yaml_parse(&yaml, text, n, r);
    if (err != OK)
        return err;
    b->arena = &box->arena;
    b->secrets = &box->secrets;
    b->report = r;
    b->yaml = &yaml;
    b->folder = folder;
    b->files = files;
    b->development = peek_development(&yaml);
    config_bind(b, yaml.root, "", &box->config);
    b->path[0] = '\0';
    box->config.ngrants_own = box->config.ngrants;
    if (!b->nomem && files && box->config.grants_dir && !r->errors)
        config_grants_read(b, &box->config);
    if (!b->nomem)
        config_check(b, &box->config);
    if (!b->nomem && !r->errors) {
        complete(b, &box->config);
        keep_warnings(b, &box->warnings);
    }
    yaml_release(&yaml);
    if (b->nomem || r->nomem)
        return ERR_NOMEM;
    return r->errors ? ERR_CONFIG : OK;
}

struct config *config_parse(const char *name, const char *text, size_t n, bool files, char *err,
                            size_t err_bytes)
{
    char folder[CONFIG_PATH_BYTES];
    struct report report;
    struct config_box *box = sl_calloc(1, sizeof(*box));
    if (!box) {
        snprintf(err, err_bytes, "out of memory\n");
        return NULL;
    }
    arena_init(&box->arena, CONFIG_ARENA_BYTES);
    atomic_init(&box->refs, 1);
    report_init(&report, &box->arena, name);
    int result = ERR_CONFIG;
    box->config.file = arena_dup(&box->arena, name, strlen(name));
    if (!folder_of(name, folder))
        report_error(&report, 0, "", "its folder cannot be found");
    else
        result = box->config.file ? fill(box, text, n, files, &report, folder) : ERR_NOMEM;
    if (result == OK)
        return &box->config;
    report.nomem |= result == ERR_NOMEM;
    if (result == ERR_NOMEM && !report.errors)
        snprintf(err, err_bytes, "%s: out of memory\n", name);
    else
        report_errors(&report, err, err_bytes);
    box_free(box);
    return NULL;
}

struct config *config_load(const char *file, char *err, size_t err_bytes)
{
    size_t n;
    char *text = config_file_read(file, YAML_BYTES_MAX, &n);
    if (!text) {
        snprintf(err, err_bytes, "%s: cannot be read: %s\n", file, strerror(errno));
        return NULL;
    }
    struct config *c = config_parse(file, text, n, true, err, err_bytes);
    sl_free(text);
    return c;
}

struct config *config_grants_reload(const struct config *c, char *err, size_t err_bytes)
{
    const struct config *root = box_of(c)->parent ? box_of(c)->parent : c;
    struct config_box *box = sl_calloc(1, sizeof(*box));
    struct report report;
    struct build *b;
    if (!box) {
        snprintf(err, err_bytes, "out of memory\n");
        return NULL;
    }
    arena_init(&box->arena, CONFIG_ARENA_BYTES);
    atomic_init(&box->refs, 1);
    report_init(&report, &box->arena, root->file);
    box->config = *root;
    box->config.ngrants = root->ngrants_own;
    box->parent = config_ref(root);
    b = arena_zalloc(&box->arena, sizeof(*b));
    if (b) {
        *b = (struct build){.arena = &box->arena,
                            .secrets = &box->secrets,
                            .report = &report,
                            .folder = "/",
                            .files = true,
                            .development = root->development};
        config_grants_read(b, &box->config);
        if (!b->nomem && !report.errors)
            config_check_merged(b, &box->config);
        if (!b->nomem && !report.errors)
            keep_warnings(b, &box->warnings);
    }
    if (b && !b->nomem && !report.nomem && !report.errors)
        return &box->config;
    if (report.errors)
        report_errors(&report, err, err_bytes);
    else
        snprintf(err, err_bytes, "%s: out of memory\n", root->file);
    box_free(box);
    return NULL;
}

/* Over the control API a grant is an arena of its own behind its first member. */
struct grant_box {
    struct grant_config grant;
    struct arena arena;
};

struct grant_config *config_grant_parse(const struct config *c, const char *id, json_t *object,
                                        char *err, size_t err_bytes)
{
    struct report report;
    struct secret *secrets = NULL;
    struct grant_box *box = sl_calloc(1, sizeof(*box));
    struct build *b = sl_calloc(1, sizeof(*b));
    json_t *whole = json_copy(object);
    bool good = box && b && whole;
    if (box)
        arena_init(&box->arena, CONFIG_ARENA_BYTES);
    report_init(&report, box ? &box->arena : NULL, NULL);
    const json_t *stated = good ? json_object_get(whole, "id") : NULL;
    if (stated && (!json_is_string(stated) || strcmp(json_string_value(stated), id) != 0))
        report_error(&report, 0, "id", "is not the one in the path");
    else if (good)
        good = json_object_set_new(whole, "id", json_string(id)) == 0;
    if (good) {
        *b = (struct build){.arena = &box->arena,
                            .secrets = &secrets,
                            .report = &report,
                            .folder = "/",
                            .development = c->development};
        config_bind(b, whole, "grants[].", &box->grant);
        if (!b->nomem)
            config_check_grant(b, c, &box->grant, "");
        good = !b->nomem;
    }
    good = good && !report.nomem;
    if (!good)
        snprintf(err, err_bytes, "out of memory\n");
    else
        report_errors(&report, err, err_bytes);
    json_decref(whole);
    sl_free(b);
    if (good && !report.errors)
        return &box->grant;
    if (box)
        config_grant_free(&box->grant);
    return NULL;
}

void config_grant_free(struct grant_config *g)
{
    struct grant_box *box = (struct grant_box *)(void *)g;
    if (box)
        arena_release(&box->arena);
    sl_free(box);
}
