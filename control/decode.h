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

#define DECODE_INPUT_MAX (1UL << 30)

enum decode_form { DECODE_GUESS, DECODE_HEX, DECODE_RAW, DECODE_PCAP };

struct decode_options {
    enum decode_form form;
    bool response; /* requests otherwise; a capture knows by itself */
    int api, version;
    bool text, secrets;
};

/* argv[0] is "decode". Returns the exit code: 0 all was decoded; 2 bad input or usage, out of
 * memory, or output that could not be written. */
int decode_main(int argc, char **argv);

/* The same, past arguments and files. p may be changed. */
int decode_run(const struct decode_options *o, uint8_t *p, size_t n, FILE *out);

#endif
