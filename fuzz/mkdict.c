/* Writes libFuzzer's dictionaries, when the targets are built: schema.dict from the schema (keys,
 * tags, texts that are defaults, what lengths look like when they lie) and options.dict from the
 * table of options. usage: mkdict DIRECTORY */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/schema.h"
#include "config/options.h"

static FILE *out;

static void entry(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;

    fputc('"', out);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "\\x%02x", p[i]);
    fputs("\"\n", out);
}

static void word(const char *text)
{
    entry(text, strlen(text));
}

static FILE *begin(const char *folder, const char *name)
{
    char path[1024];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "w");
    if (!f) {
        perror(path);
        exit(1);
    }
    return f;
}

/* A known tag as the only one of its struct, and the texts that are defaults. */
static void fields(const struct field *f, uint16_t n, unsigned depth)
{
    for (uint16_t i = 0; i < n; i++) {
        const uint8_t tag[] = {1, (uint8_t)f[i].tag, 4, 0, 0, 0, 0};
        if (f[i].tag >= 0)
            entry(tag, sizeof(tag));
        if (f[i].default_text && f[i].default_text[0])
            word(f[i].default_text);
    }
    /* One level is where nearly all of them are; the walker needs no more of a hint. */
    for (uint16_t i = 0; i < n && depth > 0; i++)
        for (uint16_t k = 0; k < f[i].nfields; k++)
            if (f[i].fields[k].tag >= 0) {
                const uint8_t tag[] = {1, (uint8_t)f[i].fields[k].tag, 1, 0};
                entry(tag, sizeof(tag));
            }
}

static void messages(void)
{
    static const char *const lies[] = {"\xff\xff\xff\xff",
                                       "\x7f\xff\xff\xff",
                                       "\x80\x80\x80\x80\x08",
                                       "\xff\xff\xff\xff\x0f",
                                       "\xff\xff\x01",
                                       "\x80\x80\x02",
                                       "\xff\xfe",
                                       "\xc0\x80",
                                       "t1",
                                       "bob",
                                       "foreign",
                                       "OAUTHBEARER"};
    size_t n;
    const struct message *all = schema_all(&n);

    for (size_t i = 0; i < n; i++) {
        const uint8_t key[] = {(uint8_t)(all[i].api >> 8), (uint8_t)all[i].api, 0,
                               (uint8_t)all[i].versions.max};
        if (all[i].request)
            entry(key, sizeof(key));
        fields(all[i].fields, all[i].nfields, 1);
    }
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++)
        word(lies[i]);
}

static void names(void)
{
    for (size_t i = 0; i < options_count; i++)
        word(option_name(&options[i]));
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    out = begin(argv[1], "schema.dict");
    messages();
    fclose(out);
    out = begin(argv[1], "options.dict");
    names();
    return fclose(out) != 0;
}
