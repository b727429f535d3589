#include "config/values.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

bool value_number(const char *text, int64_t *out)
{
    const char *at = text;
    bool negative = *at == '-';
    int64_t value = 0;
    at += negative;
    if (*at == '\0' || (*at == '0' && at[1] != '\0'))
        return false;
    for (; *at; at++) {
        if (*at < '0' || *at > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *at - '0', &value))
            return false;
    }
    *out = negative ? -value : value;
    return true;
}

static bool host_legal(const char *host)
{
    if (!*host || *host == '.' || *host == '-')
        return false;
    for (const char *at = host; *at; at++) {
        bool legal = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                     (*at >= '0' && *at <= '9') || *at == '.' || *at == '-' || *at == '_';
        if (!legal || (at[0] == '.' && at[1] == '.'))
            return false;
    }
    return true;
}

bool value_address(const char *text, char host[VALUE_HOST_BYTES], uint16_t *port)
{
    const char *colon = strrchr(text, ':');
    bool v6 = *text == '[';
    int64_t number;
    if (!colon || !value_number(colon + 1, &number) || number < 1 || number > 65535)
        return false;
    size_t n = (size_t)(colon - text);
    if (v6 && (n < 2 || colon[-1] != ']'))
        return false;
    if (v6) {
        text++;
        n -= 2;
    }
    if (n >= VALUE_HOST_BYTES)
        return false;
    memcpy(host, text, n);
    host[n] = '\0';
    *port = (uint16_t)number;
    struct in6_addr address;
    return v6 ? inet_pton(AF_INET6, host, &address) == 1 : host_legal(host);
}

/* Exactly n digits at *at, which moves behind them. */
static bool digits(const char **at, unsigned n, int *out)
{
    int value = 0;
    for (unsigned i = 0; i < n; i++) {
        if ((*at)[i] < '0' || (*at)[i] > '9')
            return false;
        value = value * 10 + ((*at)[i] - '0');
    }
    *at += n;
    *out = value;
    return true;
}

static bool one_of(const char **at, const char *set)
{
    if (**at == '\0' || !strchr(set, **at))
        return false;
    ++*at;
    return true;
}

/* "Z" or "+hh:mm", up to the text's end. */
static bool offset(const char *at, int *seconds)
{
    int hours, minutes;
    *seconds = 0;
    if (one_of(&at, "Zz"))
        return *at == '\0';
    int sign = *at == '-' ? -1 : 1;
    if (!one_of(&at, "+-") || !digits(&at, 2, &hours) || !one_of(&at, ":") ||
        !digits(&at, 2, &minutes) || *at != '\0' || hours > 23 || minutes > 59)
        return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

bool value_time(const char *text, int64_t *out)
{
    struct tm tm = {0}, back;
    const char *at = text;
    int year, month, shift;
    if (value_number(text, out))
        return *out > 0 && *out < INT64_C(253402300800);
    if (!digits(&at, 4, &year) || !one_of(&at, "-") || !digits(&at, 2, &month) ||
        !one_of(&at, "-") || !digits(&at, 2, &tm.tm_mday) || !one_of(&at, "Tt ") ||
        !digits(&at, 2, &tm.tm_hour) || !one_of(&at, ":") || !digits(&at, 2, &tm.tm_min) ||
        !one_of(&at, ":") || !digits(&at, 2, &tm.tm_sec))
        return false;
    if (one_of(&at, ".") && !isdigit((unsigned char)*at))
        return false;
    while (isdigit((unsigned char)*at))
        at++;
    if (!offset(at, &shift))
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    back = tm;
    time_t seconds = timegm(&back);
    /* timegm carries what overflows; a date that does not come back was none. */
    if (back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 59)
        return false;
    *out = (int64_t)seconds - shift;
    return *out > 0;
}

bool value_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return strcasecmp(host, "localhost") == 0;
}

const char *value_text_fault(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i], next = i + 1 < n ? (unsigned char)text[i + 1] : 0;

        if (c < 0x20 || c == 0x7f || (c == 0xc2 && next >= 0x80 && next < 0xa0)) /* C0, DEL, C1 */
            return "holds a control character";
    }
    return NULL;
}

const char *value_topic_fault(const char *text)
{
    static const char *const own[] = {"__consumer_offsets", "__transaction_state",
                                      "__share_group_state", "__cluster_metadata"};
    size_t n = strlen(text);
    if (n == 0 || n > VALUE_TOPIC_MAX)
        return "is no topic name: its length is not 1 to 249";
    if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
        return "is no topic name";
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-'))
            return "is no topic name: wildcards and patterns are not taken";
    }
    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
        if (strcmp(text, own[i]) == 0)
            return "is one of Kafka's own topics, which nobody outside may touch";
    return NULL;
}

const char *value_prefix_fault(const char *text)
{
    if (*text == '\0')
        return "is empty, which would match every group; leave it out to grant none";
    if (strcmp(text, "*") == 0)
        return "is no wildcard; leave it out to grant none";
    return value_text_fault(text, strlen(text));
}

const char *value_url_fault(const char *text, bool plain)
{
    bool https = strncmp(text, "https://", 8) == 0;
    if (!https && strncmp(text, "http://", 7) != 0)
        return "is no https URL";
    if (!https && !plain)
        return "is not https, which is allowed with `development: true` only";
    const char *host = text + (https ? 8 : 7);
    size_t n = strcspn(host, "/?");
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f || strchr("\"<>\\^`{|}", *at))
            return "holds a character that no URL has";
    if (n == 0 || *host == ':')
        return "names no host";
    if (memchr(host, '@', n))
        return "holds a user or password, which do not belong into a URL";
    if (strchr(text, '#'))
        return "holds a fragment (#)";
    return NULL;
}
