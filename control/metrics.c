#include "control/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct family {
    char name[96];
    FILE *file; /* open_memstream over text */
    char *text;
    size_t n;
};

struct metrics {
    struct family families[METRICS_FAMILIES_MAX];
    size_t count, bytes;
    bool failed;
};

struct metrics *metrics_new(void)
{
    return sl_calloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *m)
{
    for (size_t i = 0; m && i < m->count; i++) {
        if (m->families[i].file)
            fclose(m->families[i].file);
        free(m->families[i].text);
    }
    sl_free(m);
}

/* The family's length within a name: histograms' lines share one. */
static size_t family_len(const char *name, const char *type)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    size_t n = strlen(name);
    for (size_t i = 0; strcmp(type, "histogram") == 0 && i < 3; i++) {
        size_t s = strlen(suffixes[i]);
        if (n > s && strcmp(name + n - s, suffixes[i]) == 0)
            return n - s;
    }
    return n;
}

static struct family *family_of(struct metrics *m, const char *name, size_t n, const char *type,
                                const char *help)
{
    for (size_t i = m->count; i > 0; i--)
        if (strlen(m->families[i - 1].name) == n && !memcmp(m->families[i - 1].name, name, n))
            return &m->families[i - 1];
    if (m->count == METRICS_FAMILIES_MAX || n >= sizeof(m->families->name))
        return NULL;
    struct family *f = &m->families[m->count];
    f->file = open_memstream(&f->text, &f->n);
    if (!f->file) {
        m->failed = true;
        return NULL;
    }
    m->count++;
    memcpy(f->name, name, n);
    fprintf(f->file, "# HELP %s %s\n# TYPE %s %s\n", f->name, help, f->name, type);
    return f;
}

static void put_value(FILE *f, double value)
{
    if (isnan(value))
        fprintf(f, "NaN\n");
    else if (isinf(value))
        fprintf(f, value > 0 ? "+Inf\n" : "-Inf\n");
    else if (fabs(value) < 9007199254740992.0 && value == (double)(int64_t)value)
        fprintf(f, "%" PRId64 "\n", (int64_t)value);
    else
        fprintf(f, "%.17g\n", value);
}

void metrics_line(void *arg, const char *name, const char *labels, const char *type,
                  const char *help, double value)
{
    struct metrics *m = arg;
    struct family *f = family_of(m, name, family_len(name, type), type, help);
    bool some = labels && *labels;
    size_t size = strlen(name) + (some ? strlen(labels) : 0) + 40;
    if (!f || m->bytes + size > METRICS_BYTES_MAX)
        return;
    m->bytes += size;
    fprintf(f->file, "%s%s%s%s ", name, some ? "{" : "", some ? labels : "", some ? "}" : "");
    put_value(f->file, value);
    m->failed |= ferror(f->file) != 0;
}

void metrics_label(char *out, size_t out_bytes, const char *key, const char *value)
{
    size_t start = strlen(out), at = start;
    int n = snprintf(out + at, out_bytes - at, "%s%s=\"", start ? "," : "", key);
    if (n < 0 || (size_t)n >= out_bytes - at) {
        out[start] = '\0';
        return;
    }
    at += (size_t)n;
    for (; *value; value++) {
        bool escaped = *value == '"' || *value == '\\' || *value == '\n';
        if (at + 4 > out_bytes) {
            out[start] = '\0';
            return;
        }
        if (escaped)
            out[at++] = '\\';
        out[at] = *value;
        if (*value == '\n')
            out[at] = 'n';
        at++;
    }
    if (at + 2 > out_bytes) {
        out[start] = '\0';
        return;
    }
    out[at++] = '"';
    out[at] = '\0';
}

char *metrics_text(struct metrics *m, size_t *n)
{
    char *text = NULL;
    FILE *all = open_memstream(&text, n);
    if (!all)
        return NULL;
    for (size_t i = 0; i < m->count; i++) {
        struct family *f = &m->families[i];
        m->failed |= fflush(f->file) != 0;
        if (f->text)
            fwrite(f->text, 1, f->n, all);
    }
    bool failed = m->failed || ferror(all);
    if (fclose(all) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}
