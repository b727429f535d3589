/* A subscription's pattern (KIP-848), resolved against the granted names alone. Kafka's brokers use
 * RE2/J and match the whole name; PCRE2 reads that syntax and more, so the cost of a match is
 * bounded here: pattern length, compiled size, match steps, depth and heap. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "proxy/exchange.h"

#define REGEX_PATTERN_MAX 1024
#define REGEX_NESTING_MAX 32
#define REGEX_MATCH_MAX   10000 /* for each name, and there may be some thousands */
#define REGEX_DEPTH_MAX   256
#define REGEX_HEAP_KIB    256

struct regex {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
    struct msg *m;
    struct node *names;
    int rc;
};

static bool match_name(void *arg, const char *name)
{
    struct regex *r = arg;
    int found = pcre2_match(r->code, (PCRE2_SPTR)name, strlen(name), 0, 0, r->data, r->limits);

    if (found >= 0) /* a name that is there already is a set's element to a broker */
        r->rc = array_add_str(r->m, r->names, (const uint8_t *)name, strlen(name));
    else if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        r->rc = ERR_MALFORMED; /* too costly, or not matchable */
    return r->rc == OK;
}

static pcre2_code *compile(const struct node *pattern)
{
    pcre2_compile_context *c = pcre2_compile_context_create(NULL);
    pcre2_code *code = NULL;
    PCRE2_SIZE at;
    int error;

    if (!c)
        return NULL;
    pcre2_set_parens_nest_limit(c, REGEX_NESTING_MAX);
    pcre2_set_max_pattern_length(c, REGEX_PATTERN_MAX);
    code = pcre2_compile(pattern->u.str.p, pattern->u.str.len,
                         PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C,
                         &error, &at, c);
    pcre2_compile_context_free(c);
    return code;
}

int regex_resolve(struct msg *m, struct node *names, const struct grant_set *grants,
                  const struct node *pattern)
{
    struct regex r = {.m = m, .names = names, .rc = OK};

    r.code = compile(pattern);
    if (!r.code)
        return ERR_MALFORMED;
    r.data = pcre2_match_data_create_from_pattern(r.code, NULL);
    r.limits = pcre2_match_context_create(NULL);
    if (!r.data || !r.limits) {
        r.rc = ERR_NOMEM;
    } else {
        pcre2_set_match_limit(r.limits, REGEX_MATCH_MAX);
        pcre2_set_depth_limit(r.limits, REGEX_DEPTH_MAX);
        pcre2_set_heap_limit(r.limits, REGEX_HEAP_KIB);
        grant_topics(grants, match_name, &r);
    }
    pcre2_match_context_free(r.limits);
    pcre2_match_data_free(r.data);
    pcre2_code_free(r.code);
    return r.rc;
}
