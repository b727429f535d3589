#include "config/grants_dir.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/loop.h"
#include "config/build.h"

/* --- the files of the folder */

struct names {
    char *at[GRANTS_FILES_MAX];
    size_t count;
    bool more; /* than that */
};

static bool is_ours(const char *name)
{
    static const char *const ends[] = {".yaml", ".yml", ".json"};
    size_t n = strlen(name);
    for (size_t i = 0; name[0] != '.' && i < sizeof(ends) / sizeof(*ends); i++)
        if (n > strlen(ends[i]) && strcmp(name + n - strlen(ends[i]), ends[i]) == 0)
            return true;
    return false;
}

static int compare(const void *a, const void *b)
{
    char *const *x = a;
    char *const *y = b;
    return strcmp(*x, *y);
}

static void names_release(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        sl_free(n->at[i]);
    n->count = 0;
}

/* Sorted; false with errno. */
static bool names_read(struct names *n, const char *path)
{
    DIR *dir = opendir(path);
    bool good = dir != NULL;
    n->count = 0;
    n->more = false;
    while (good) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (!e) {
            good = errno == 0;
            break;
        }
        if (!is_ours(e->d_name))
            continue;
        if (n->count == GRANTS_FILES_MAX) {
            n->more = true;
            break;
        }
        size_t bytes = strlen(e->d_name) + 1;
        char *name = sl_malloc(bytes);
        good = name != NULL;
        if (good)
            n->at[n->count++] = memcpy(name, e->d_name, bytes);
    }
    int why = errno;
    if (dir)
        closedir(dir);
    qsort(n->at, n->count, sizeof(*n->at), compare);
    if (!good)
        names_release(n);
    errno = why;
    return good;
}

static uint64_t mix(uint64_t h, uint64_t value)
{
    h = (h ^ value) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

uint64_t grants_dir_stamp(const char *path)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    struct names *n = sl_calloc(1, sizeof(*n));
    char file[CONFIG_PATH_BYTES];
    struct stat st;
    if (!n || !names_read(n, path)) {
        sl_free(n);
        return 0;
    }
    for (size_t i = 0; i < n->count; i++) {
        for (const char *p = n->at[i]; *p; p++)
            h = mix(h, (unsigned char)*p);
        snprintf(file, sizeof(file), "%s/%s", path, n->at[i]);
        if (stat(file, &st) != 0)
            continue;
        h = mix(h, (uint64_t)st.st_ino);
        h = mix(h, (uint64_t)st.st_size);
        h = mix(h, (uint64_t)st.st_mtim.tv_sec * 1000000000U + (uint64_t)st.st_mtim.tv_nsec);
        h = mix(h, (uint64_t)st.st_ctim.tv_sec * 1000000000U + (uint64_t)st.st_ctim.tv_nsec);
    }
    h = mix(h, n->count + n->more);
    names_release(n);
    sl_free(n);
    return h ? h : 1;
}

/* --- reading */

/* Those of the files so far, behind the configuration's own. */
struct merged {
    struct grant_config *grants;
    const char **origins;
    size_t count, room;
    size_t bytes; /* of files */
};

static bool room_for(struct build *b, const struct config *c, struct merged *m, size_t more)
{
    size_t room = m->room ? m->room : 64;
    while (room < m->count + more)
        room *= 2;
    if (m->grants && room == m->room)
        return true;
    struct grant_config *grants = arena_zalloc(b->arena, (c->ngrants_own + room) * sizeof(*grants));
    const char **origins = arena_zalloc(b->arena, room * sizeof(*origins));
    if (!grants || !origins) {
        b->nomem = true;
        return false;
    }
    if (m->grants)
        memcpy(grants, m->grants, (c->ngrants_own + m->count) * sizeof(*grants));
    else if (c->ngrants_own)
        memcpy(grants, c->grants, c->ngrants_own * sizeof(*grants));
    if (m->count)
        memcpy(origins, m->origins, m->count * sizeof(*origins));
    m->grants = grants;
    m->origins = origins;
    m->room = room;
    return true;
}

static void add(struct build *b, const struct config *c, struct merged *m, const char *name,
                const char *where, const struct grant_config *g)
{
    char origin[CONFIG_PATH_BYTES];
    snprintf(origin, sizeof(origin), "%s%s%s", name, *where == 'g' ? ": " : "", where);
    m->grants[c->ngrants_own + m->count] = *g;
    m->origins[m->count] = config_keep(b, origin, strlen(origin));
    m->count++;
}

/* One grant, or a list, which may stand behind the key `grants`. */
static void take(struct build *b, struct config *c, struct merged *m, const char *name,
                 const struct yaml *y)
{
    struct config list = {0};
    json_t *under = json_object_get(y->root, "grants");
    json_t *root = under && json_object_size(y->root) == 1 ? under : y->root;
    const char *key = root == under ? "grants" : "";
    snprintf(b->path, sizeof(b->path), "%s", key);
    if (json_is_object(root) && root == y->root) {
        list.ngrants = 1;
        list.grants = arena_zalloc(b->arena, sizeof(*list.grants));
        if (list.grants)
            config_bind(b, y->root, "grants[].", list.grants);
        b->nomem |= !list.grants;
    } else {
        config_bind_list(b, option_at("grants"), root, &list);
    }
    if (b->nomem || b->report->errors || !room_for(b, c, m, list.ngrants))
        return;
    for (size_t i = 0; i < list.ngrants; i++) {
        char where[32] = "";
        if (json_is_array(root))
            snprintf(where, sizeof(where), "%s[%zu]", key, i);
        config_check_grant(b, c, &list.grants[i], where);
        add(b, c, m, name, where, &list.grants[i]);
    }
}

static void read_file(struct build *b, struct config *c, struct merged *m, const char *name)
{
    const struct yaml *own = b->yaml;
    const char *file = b->report->file;
    char path[CONFIG_PATH_BYTES];
    struct yaml yaml;
    struct stat st;
    size_t n = 0;
    snprintf(path, sizeof(path), "%s/%s", c->grants_dir, name);
    /* A pipe would be waited for. */
    errno = EINVAL;
    char *text = stat(path, &st) == 0 && S_ISREG(st.st_mode)
                     ? config_file_read(path, GRANTS_DIR_BYTES_MAX - m->bytes, &n)
                     : NULL;
    b->report->file = path;
    m->bytes += n;
    if (!text)
        report_error(b->report, 0, "", "cannot be read: %s",
                     errno == EFBIG ? "more than 32 MiB in one folder" : strerror(errno));
    else if (n > 0 && yaml_parse_any(&yaml, text, n, b->report) == OK) {
        b->yaml = &yaml;
        take(b, c, m, name, &yaml);
        yaml_release(&yaml);
    } else if (n > 0 && !b->report->errors) {
        b->nomem = true;
    } else if (n == 0) {
        report_error(b->report, 0, "", "is empty; it takes a grant or a list of them");
    }
    sl_free(text);
    b->yaml = own;
    b->report->file = file;
}

void config_grants_read(struct build *b, struct config *c)
{
    const struct option *o = option_at("grants_dir");
    struct merged m = {0};
    struct names *n = sl_calloc(1, sizeof(*n));
    uint64_t stamp = grants_dir_stamp(c->grants_dir);
    if (!n) {
        b->nomem = true;
        return;
    }
    snprintf(b->path, sizeof(b->path), "grants_dir");
    if (!names_read(n, c->grants_dir))
        config_fault(b, o, NULL, "%s cannot be read: %s", c->grants_dir, strerror(errno));
    else if (n->more)
        config_fault(b, o, NULL, "%s holds more than %d files", c->grants_dir, GRANTS_FILES_MAX);
    else
        for (size_t i = 0; i < n->count && !b->nomem; i++)
            read_file(b, c, &m, n->at[i]);
    names_release(n);
    sl_free(n);
    snprintf(b->path, sizeof(b->path), "grants_dir");
    c->grants_stamp = stamp;
    if (!b->report->errors && !b->nomem && grants_dir_stamp(c->grants_dir) != stamp)
        config_fault(b, o, NULL, "%s changed while it was read; try again", c->grants_dir);
    b->path[0] = '\0';
    if (m.count == 0)
        return;
    c->grants = m.grants;
    c->ngrants = c->ngrants_own + m.count;
    b->origins = m.origins;
}

/* --- watching */

struct grants_watch {
    struct loop *loop;
    struct loop_timer *look;
    char path[CONFIG_PATH_BYTES]; /* "": none */
    uint64_t known, seen;         /* stamps: of what was taken or refused; of the last look */
    bool (*changed)(void *arg);
    void *arg;
};

static void on_look(void *arg)
{
    struct grants_watch *w = arg;
    uint64_t now = grants_dir_stamp(w->path);

    if (now != w->known && now == w->seen) {
        /* Told once, whatever comes of it; a folder that is gone is told as well. */
        w->known = now;
        if (!w->changed(w->arg))
            w->known = ~now;
    }
    w->seen = now;
    if (loop_timer_set(w->look, GRANTS_LOOK_US) != OK)
        w->path[0] = '\0';
}

struct grants_watch *grants_watch_new(struct loop *l, const struct config *c,
                                      bool (*changed)(void *arg), void *arg)
{
    struct grants_watch *w = sl_calloc(1, sizeof(*w));
    if (!w)
        return NULL;
    w->loop = l;
    w->changed = changed;
    w->arg = arg;
    w->look = loop_timer_new(l, on_look, w);
    if (!w->look) {
        sl_free(w);
        return NULL;
    }
    grants_watch_config(w, c);
    return w;
}

void grants_watch_config(struct grants_watch *w, const struct config *c)
{
    if (!w)
        return;
    snprintf(w->path, sizeof(w->path), "%s", c->grants_dir ? c->grants_dir : "");
    w->known = w->seen = c->grants_stamp;
    if (!w->path[0])
        loop_timer_clear(w->look);
    else if (loop_timer_set(w->look, GRANTS_LOOK_US) != OK)
        w->path[0] = '\0';
}

void grants_watch_free(struct grants_watch *w)
{
    if (!w)
        return;
    loop_timer_free(w->look);
    sl_free(w);
}
