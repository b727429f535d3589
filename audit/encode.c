/* An event as one line of JSON in OCSF 1.3's terms. No allocation: the line is written into the
 * caller's buffer, whose end sticks as an error. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "audit/audit.h"

/* How a kind is told in OCSF's classes. */
struct shape {
    const char *event; /* our own name, metadata.event_code */
    unsigned class_uid, category_uid;
    const char *class_name, *category_name;
    unsigned activity_id;
    const char *activity_name;
    unsigned severity_id; /* 1 informational, 2 low, 3 medium, 4 high */
    bool failure;
};

#define IAM "Identity & Access Management"
#define NET "Network Activity"
#define APP "Application Activity"

static const struct shape shapes[AUDIT_KINDS] = {
    [AUDIT_CONNECT] = {"connect", 4001, 4, NET, NET, 1, "Open", 1, false},
    [AUDIT_TLS_FAIL] = {"tls_fail", 4001, 4, NET, NET, 4, "Fail", 2, true},
    [AUDIT_AUTH_OK] = {"auth_ok", 3002, 3, "Authentication", IAM, 1, "Logon", 1, false},
    [AUDIT_AUTH_FAIL] = {"auth_fail", 3002, 3, "Authentication", IAM, 1, "Logon", 3, true},
    [AUDIT_REAUTH] = {"reauth", 3002, 3, "Authentication", IAM, 99, "Reauthentication", 1, false},
    [AUDIT_DENIAL] = {"denial", 6003, 6, "API Activity", APP, 99, "Deny", 3, true},
    [AUDIT_PROTOCOL] = {"protocol", 6003, 6, "API Activity", APP, 99, "Reject", 3, true},
    [AUDIT_UPSTREAM] = {"upstream", 6003, 6, "API Activity", APP, 99, "Upstream fault", 3, true},
    [AUDIT_REVOCATION] = {"revocation", 3005, 3, "User Access Management", IAM, 2,
                          "Revoke Privileges", 2, false},
    [AUDIT_GRANT] = {"grant", 3005, 3, "User Access Management", IAM, 1, "Assign Privileges", 1,
                     false},
    [AUDIT_CLOSE] = {"close", 4001, 4, NET, NET, 2, "Close", 1, false},
    [AUDIT_START] = {"start", 6002, 6, "Application Lifecycle", APP, 3, "Start", 1, false},
    [AUDIT_STOP] = {"stop", 6002, 6, "Application Lifecycle", APP, 4, "Stop", 1, false},
    [AUDIT_RELOAD] = {"reload", 6002, 6, "Application Lifecycle", APP, 99, "Reload", 1, false},
    [AUDIT_LOST] = {"lost", 6002, 6, "Application Lifecycle", APP, 99, "Audit gap", 4, true},
};

static const char *const severities[] = {"Unknown", "Informational", "Low", "Medium", "High"};

struct line {
    char *at, *end; /* end leaves room for the NUL */
    bool full;
    bool first; /* nothing in the innermost object yet */
};

static void raw(struct line *l, const char *text, size_t n)
{
    if ((size_t)(l->end - l->at) < n) {
        l->full = true;
        return;
    }
    memcpy(l->at, text, n);
    l->at += n;
}

static void word(struct line *l, const char *text)
{
    raw(l, text, strlen(text));
}

/* The length of the UTF-8 character at p (RFC 3629: shortest form, no surrogates, at most
 * U+10FFFF) and its code point; 0 when there is none. */
static size_t character(const unsigned char *p, size_t n, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (size == 0 || size > n || p[0] > 0xf4)
        return 0;
    *code = size == 1 ? p[0] : p[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (p[i] & 0x3f);
    }
    bool surrogate = *code >= 0xd800 && *code <= 0xdfff;
    return *code < least[size] || *code > 0x10ffff || surrogate ? 0 : size;
}

/* What could break a line, or how a terminal or a reader shows it: controls, line and paragraph
 * separators, bidirectional and invisible marks. */
static bool hidden(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad || code == 0x61c ||
           (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2060 && code <= 0x206f) || code == 0xfeff;
}

/* How many bytes from p on stand for themselves: nearly all of nearly every text. */
static size_t plain(const unsigned char *p, size_t n)
{
    size_t i = 0;
    while (i < n && p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

static void string(struct line *l, const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t limit = n > AUDIT_TEXT_MAX ? AUDIT_TEXT_MAX : n;
    word(l, "\"");
    for (size_t i = 0; i < limit;) {
        uint32_t code = 0;
        char escaped[12];
        size_t size = plain(p + i, limit - i);
        if (size > 0) {
            raw(l, text + i, size);
            i += size;
            continue;
        }
        size = character(p + i, n - i, &code);
        if (size > limit - i)
            break; /* the cut never splits a character */
        if (size == 0 || code == 0) {
            word(l, "\xef\xbf\xbd"); /* NUL too: many readers refuse \u0000 */
            size = 1;
        } else if (code == '"' || code == '\\') {
            escaped[0] = '\\';
            escaped[1] = (char)code;
            raw(l, escaped, 2);
        } else if (hidden(code)) {
            snprintf(escaped, sizeof(escaped), "\\u%04x", (unsigned)code);
            raw(l, escaped, 6);
        } else {
            raw(l, text + i, size);
        }
        i += size;
    }
    word(l, "\"");
}

static void name(struct line *l, const char *key)
{
    if (!l->first)
        word(l, ",");
    l->first = false;
    word(l, "\"");
    word(l, key);
    word(l, "\":");
}

static void open_object(struct line *l, const char *key)
{
    name(l, key);
    word(l, "{");
    l->first = true;
}

static void close_object(struct line *l)
{
    word(l, "}");
    l->first = false;
}

static void put_text(struct line *l, const char *key, const char *text)
{
    if (!text || !*text)
        return;
    name(l, key);
    string(l, text, strnlen(text, AUDIT_TEXT_MAX + 4));
}

static void put_number(struct line *l, const char *key, int64_t value)
{
    char digits[24];
    name(l, key);
    int n = snprintf(digits, sizeof(digits), "%" PRId64, value);
    raw(l, digits, (size_t)n);
}

static void put_count(struct line *l, const char *key, uint64_t value)
{
    if (value)
        put_number(l, key, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

static void put_head(struct line *l, const struct audit_event *e, const struct shape *s,
                     int64_t time_ms)
{
    open_object(l, "metadata");
    put_text(l, "version", "1.3.0");
    open_object(l, "product");
    put_text(l, "name", "sluice");
    put_text(l, "vendor_name", "sluice");
    close_object(l);
    put_text(l, "event_code", s->event);
    close_object(l);
    put_number(l, "time", time_ms);
    put_number(l, "category_uid", s->category_uid);
    put_text(l, "category_name", s->category_name);
    put_number(l, "class_uid", s->class_uid);
    put_text(l, "class_name", s->class_name);
    put_number(l, "activity_id", s->activity_id);
    put_text(l, "activity_name", s->activity_name);
    put_number(l, "type_uid", (int64_t)s->class_uid * 100 + s->activity_id);
    put_number(l, "severity_id", s->severity_id);
    put_text(l, "severity", severities[s->severity_id]);
    bool failure = s->failure || e->failed;
    put_number(l, "status_id", failure ? 2 : 1);
    put_text(l, "status", failure ? "Failure" : "Success");
    if (e->error)
        put_number(l, "status_code", e->error);
    put_text(l, "status_detail", e->reason);
}

static void put_user(struct line *l, const struct audit_event *e)
{
    if (!e->subject && !e->issuer && !e->jti)
        return;
    open_object(l, "user");
    put_text(l, "uid", e->subject);
    put_text(l, "domain", e->issuer);
    put_text(l, "credential_uid", e->jti);
    close_object(l);
}

/* Authentication and user management name the user at the top as well, and their classes demand
 * one, and a privilege. */
static void put_required(struct line *l, const struct audit_event *e, const struct shape *s)
{
    if (s->class_uid != 3002 && s->class_uid != 3005)
        return;
    if (e->subject || e->issuer || e->jti) {
        put_user(l, e);
    } else {
        open_object(l, "user");
        put_number(l, "type_id", 0);
        close_object(l);
    }
    if (s->class_uid == 3002) {
        put_text(l, "auth_protocol", e->mechanism ? e->mechanism : "OAUTHBEARER");
        return;
    }
    const char *privilege = e->transfer ? e->transfer : e->agreement;
    name(l, "privileges");
    word(l, "[");
    string(l, privilege ? privilege : "", privilege ? strnlen(privilege, AUDIT_TEXT_MAX + 4) : 0);
    word(l, "]");
}

static void put_actor(struct line *l, const struct audit_event *e)
{
    if (!e->subject && !e->issuer && !e->jti && !e->client && !e->session)
        return;
    open_object(l, "actor");
    put_user(l, e);
    put_text(l, "app_uid", e->client);
    if (e->session) {
        char digits[24];
        snprintf(digits, sizeof(digits), "%" PRIu64, e->session);
        open_object(l, "session");
        put_text(l, "uid", digits);
        close_object(l);
    }
    close_object(l);
}

/* "192.0.2.1:51234", "[2001:db8::1]:51234"; whatever else comes is told as a name. */
static void put_source(struct line *l, const struct audit_event *e)
{
    const char *address = e->client_address;
    if (!address || !*address)
        return;
    const char *colon = strrchr(address, ':'), *host = address;
    size_t n = colon ? (size_t)(colon - address) : 0, digits = colon ? strlen(colon + 1) : 0;
    bool split = n && digits && digits <= 5 && strspn(colon + 1, "0123456789") == digits;
    open_object(l, "src_endpoint");
    if (split && *host == '[' && colon[-1] == ']') {
        host++;
        n -= 2;
    }
    if (split) {
        name(l, "ip");
        string(l, host, n);
        int64_t port = 0;
        for (const char *d = colon + 1; *d; d++)
            port = port * 10 + (*d - '0');
        put_number(l, "port", port);
    } else {
        put_text(l, "name", address);
    }
    close_object(l);
}

static void put_api(struct line *l, const struct audit_event *e)
{
    char version[16];
    if (!e->api)
        return;
    open_object(l, "api");
    put_text(l, "operation", e->api);
    snprintf(version, sizeof(version), "%d", e->api_version);
    put_text(l, "version", version);
    open_object(l, "service");
    put_text(l, "name", "kafka");
    close_object(l);
    if (e->error) {
        open_object(l, "response");
        put_number(l, "code", e->error);
        close_object(l);
    }
    close_object(l);
}

static void put_resource(struct line *l, const struct audit_event *e)
{
    if (!e->resource && !e->resource_type)
        return;
    size_t n = e->resource_len;
    if (e->resource && !n)
        n = strnlen(e->resource, AUDIT_TEXT_MAX + 4);
    name(l, "resources");
    word(l, "[{");
    l->first = true;
    put_text(l, "type", e->resource_type);
    if (e->resource) {
        name(l, "name");
        string(l, e->resource, n);
    }
    word(l, "}]");
    l->first = false;
}

static void put_traffic(struct line *l, const struct audit_event *e)
{
    if (e->bytes_in || e->bytes_out) {
        open_object(l, "traffic");
        put_count(l, "bytes_in", e->bytes_in);
        put_count(l, "bytes_out", e->bytes_out);
        uint64_t bytes = e->bytes_in + e->bytes_out;
        put_count(l, "bytes", bytes < e->bytes_in ? UINT64_MAX : bytes);
        close_object(l);
    }
    if (e->tls_protocol || e->tls_cipher) {
        open_object(l, "tls");
        put_text(l, "version", e->tls_protocol);
        put_text(l, "cipher", e->tls_cipher);
        close_object(l);
    }
}

/* What OCSF has no word for. */
static void put_unmapped(struct line *l, const struct audit_event *e)
{
    if (!e->transfer && !e->agreement && !e->asset && !e->participant && !e->client_id &&
        !e->software_name && !e->software_version && !e->lifetime_s && !e->offset &&
        !e->duration_us)
        return;
    open_object(l, "unmapped");
    put_text(l, "transfer", e->transfer);
    put_text(l, "agreement", e->agreement);
    put_text(l, "asset", e->asset);
    put_text(l, "participant", e->participant);
    put_text(l, "client_id", e->client_id);
    put_text(l, "software_name", e->software_name);
    put_text(l, "software_version", e->software_version);
    if (e->lifetime_s)
        put_number(l, "lifetime_s", e->lifetime_s);
    put_count(l, "offset", e->offset);
    put_count(l, "duration_us", e->duration_us);
    close_object(l);
}

int audit_encode(const struct audit_event *e, int64_t time_ms, char *out, size_t out_bytes)
{
    if (out_bytes < 2 || (unsigned)e->kind >= AUDIT_KINDS)
        return ERR_LIMIT;
    const struct shape *s = &shapes[e->kind];
    struct line l = {.at = out, .end = out + out_bytes - 1, .first = true};
    word(&l, "{");
    put_head(&l, e, s, time_ms);
    put_actor(&l, e);
    put_required(&l, e, s);
    put_source(&l, e);
    put_api(&l, e);
    put_resource(&l, e);
    put_count(&l, "count", e->count);
    if (e->duration_us)
        put_number(&l, "duration", (int64_t)(e->duration_us / 1000));
    put_traffic(&l, e);
    put_unmapped(&l, e);
    word(&l, "}");
    if (l.full)
        return ERR_LIMIT;
    *l.at = '\0';
    return (int)(l.at - out);
}
