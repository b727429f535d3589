/* `sluice decode`: Kafka frames as JSON, one document a line, or as text for people. From a file or
 * standard input; hex, raw bytes, or a packet capture. Offline: it opens nothing but that file.
 *
 * Whatever is wrong with the input becomes a document with "error" and "errorOffset", so what is
 * printed is always valid; the exit code is then 2. Bound: DECODE_INPUT_MAX. */
#ifndef CONTROL_DECODE_H
#define CONTROL_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "codec/leaks.h"

#define DECODE_INPUT_MAX (1UL << 30)
#define DECODE_NAMES_MAX 256 /* of each option that may stand more than once */

enum decode_form { DECODE_GUESS, DECODE_HEX, DECODE_RAW, DECODE_PCAP };

struct decode_options {
    enum decode_form form;
    bool response; /* requests otherwise; a capture knows by itself */
    int api, version;
    bool text, secrets;
    bool leaks; /* tell what answers show that is not in view */
    struct leaks_view view;
    const char *hosts[DECODE_NAMES_MAX], *topics[DECODE_NAMES_MAX], *texts[DECODE_NAMES_MAX];
    int32_t ports[DECODE_NAMES_MAX];
    size_t ntopics, ntexts;
    const char *group_prefix;
};

/* argv[0] is "decode". Returns the exit code: 0 all was decoded; 3 an
 * answer leaks; 2 bad input or usage, out of
 * memory, or output that could not be written. */
int decode_main(int argc, char **argv);

/* The same, past arguments and files. p may be changed. view's arrays and functions are set here.
 */
int decode_run(struct decode_options *o, uint8_t *p, size_t n, FILE *out);

#endif
