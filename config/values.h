/* What single values mean: text to number, address, time, and what is wrong with a name. Pure
 * functions, any thread. */
#ifndef CONFIG_VALUES_H
#define CONFIG_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VALUE_HOST_BYTES 254
#define VALUE_TOPIC_MAX  249

/* A whole decimal number: no sign but '-', no leading zeros, so that nothing looks octal. */
bool value_number(const char *text, int64_t *out);
/* "host:port" or "[v6]:port", port 1..65535; the host is given without its brackets. */
bool value_address(const char *text, char host[VALUE_HOST_BYTES], uint16_t *port);
/* RFC 3339 with an offset or Z, or seconds since 1970; above 0 and before the year 10000. */
bool value_time(const char *text, int64_t *out);
/* Is the host one that never leaves this machine? */
bool value_loopback(const char *host);

/* Each NULL when nothing is wrong, else what. */
const char *value_text_fault(const char *text, size_t n);
/* A legal Kafka topic name that isn't one of Kafka's own. */
const char *value_topic_fault(const char *text);
const char *value_prefix_fault(const char *text);
/* http or https with a host, no user, no fragment, no white space; https alone unless plain. */
const char *value_url_fault(const char *text, bool plain);

#endif
