#include "control/decode.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "codec/json.h"
#include "codec/schema.h"
#include "control/dissect.h"
#include "control/pcap.h"
#include "control/streams.h"

enum { EXIT_BAD = 2, EXIT_LEAKS = 3 };

struct reading {
    const struct decode_options *o;
    FILE *out;
    bool bad, leaked;
    bool seen; /* a document, printed or not */
    bool printed;
};

static bool is_request(const json_t *doc)
{
    const char *type = json_string_value(json_object_get(doc, "type"));
    return type && strcmp(type, "request") == 0;
}

/* Prints a document and drops it; where leaks are looked for, only one that has some. */
static void print(void *arg, json_t *doc, bool bad)
{
    struct reading *r = arg;
    bool leaks = json_object_get(doc, "leaks") != NULL;
    if (r->o->leaks && is_request(doc)) { /* whether it may be asked so is the gate's to say */
        json_decref(doc);
        r->seen = true;
        return;
    }
    r->bad |= bad;
    r->leaked |= leaks;
    r->seen = true;
    if (r->o->leaks && !leaks && !bad) {
        json_decref(doc);
        return;
    }
    if (r->o->text) {
        if (r->printed)
            fputc('\n', r->out);
        json_print_text(r->out, doc);
    } else {
        if (json_dumpf(doc, r->out, JSON_COMPACT | JSON_ENSURE_ASCII))
            r->bad = true;
        fputc('\n', r->out);
    }
    r->printed = true;
    json_decref(doc);
}

static void no_memory(struct reading *r)
{
    r->bad = true;
    fputs(r->o->text ? "error: \"out of memory\"\n" : "{\"error\":\"out of memory\"}\n", r->out);
}

/* A document that is nothing but an error. */
static void print_error(struct reading *r, uint64_t offset, const char *why)
{
    json_t *doc = json_object();
    if (!doc || dissect_error(doc, offset, "%s", why) == ERR_NOMEM) {
        json_decref(doc);
        no_memory(r);
        return;
    }
    print(r, doc, true);
}

/* --- hex */

struct hex {
    const uint8_t *p;
    size_t n, at;
    uint8_t *out; /* may be p: what is written never passes what is read */
    size_t len;
    unsigned line;
    bool dump;       /* hexdump -C style: offsets without a colon, text between bars */
    const char *why; /* an error, at p[at] */
};

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t hex_run(const uint8_t *p, size_t n)
{
    size_t i = 0;
    while (i < n && hex_digit(p[i]) >= 0)
        i++;
    return i;
}

static bool blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == ',';
}

/* How many bytes of the line are an offset in front of the digits: "00000010: " of xxd,
 * "00000010  " of hexdump -C and od, whose last line is an offset alone. */
static size_t hex_offset(struct hex *h, const uint8_t *p, size_t n)
{
    size_t digits = hex_run(p, n);
    if (digits >= 4 && digits < n && p[digits] == ':')
        return digits + 1;
    if (digits != 8)
        return 0;
    if (n - digits >= 2 && p[8] == ' ' && p[9] == ' ')
        h->dump = true;
    else if (!h->dump || n - digits > 1)
        return 0;
    return digits;
}

/* One line, without its end. text_at: in a dump, two blanks in front of the text at its side. */
static void hex_line(struct hex *h, const uint8_t *p, size_t n)
{
    size_t at = 0;
    while (at < n && blank(p[at]))
        at++;
    size_t offset = hex_offset(h, p + at, n - at);
    bool colon = offset > 0 && p[at + offset - 1] == ':';
    bool any = false;
    at += offset;
    while (at < n) {
        if (blank(p[at])) {
            if (colon && any && at + 1 < n && p[at] == ' ' && p[at + 1] == ' ')
                return;
            at++;
            continue;
        }
        if (h->dump && p[at] == '|')
            return;
        if (p[at] == '0' && n - at > 1 && (p[at + 1] | 0x20) == 'x') {
            at += 2;
            continue;
        }
        int high = hex_digit(p[at]);
        int low = high >= 0 && at + 1 < n ? hex_digit(p[at + 1]) : -1;
        if (low < 0) {
            bool odd = high >= 0 && (at + 1 == n || blank(p[at + 1]));
            h->why = odd ? "an odd number of hexadecimal digits" : "not a hexadecimal digit";
            h->at = (size_t)(p - h->p) + at + (high >= 0);
            return;
        }
        h->out[h->len++] = (uint8_t)(high << 4 | low);
        any = true;
        at += 2;
    }
}

/* Turns hex into bytes, in place. Returns their number; h->why on an error. */
static size_t hex_read(struct hex *h, uint8_t *p, size_t n)
{
    *h = (struct hex){.p = p, .n = n, .out = p};
    size_t start = 0;
    while (start < n && !h->why) {
        const uint8_t *end = memchr(p + start, '\n', n - start);
        size_t len = end ? (size_t)(end - p) - start : n - start;
        h->line++;
        hex_line(h, p + start, len);
        if (!h->why)
            start += len + 1;
    }
    return h->len;
}

/* --- forms of input */

static void run_raw(struct reading *r, const uint8_t *p, size_t n)
{
    struct dissect_kind kind = {.request = !r->o->response,
                                .api = r->o->api,
                                .version = r->o->version,
                                .secrets = r->o->secrets,
                                .leaks = r->o->leaks ? &r->o->view : NULL};
    size_t at = 0;
    while (at < n) {
        uint32_t len = 0;
        json_t *doc = json_object();
        int err = !doc || json_object_set_new(doc, "offset", json_integer((json_int_t)at))
                      ? ERR_NOMEM
                      : OK;
        bool whole = n - at >= 4;
        if (!err && !whole)
            err = dissect_error(doc, at, "%zu bytes are left over, too few for a frame's length",
                                n - at);
        if (!err)
            err = dissect_length(doc, p + at, at, &len);
        whole = !err && len <= n - at - 4;
        if (!err && !whole)
            err = dissect_error(doc, at, "the input ends inside of a frame: %zu of %u bytes",
                                n - at - 4, len);
        if (err == ERR_MALFORMED && dissect_unread(doc, at, p + at, n - at))
            err = ERR_NOMEM;
        if (whole) {
            err = json_object_set_new(doc, "length", json_integer(len)) ? ERR_NOMEM : OK;
            if (!err)
                err = dissect_frame(doc, p + at + 4, len, at + 4, &kind, NULL);
        }
        if (err == ERR_NOMEM) {
            json_decref(doc);
            no_memory(r);
            return;
        }
        print(r, doc, err != OK);
        if (!whole)
            return;
        at += 4 + (size_t)len;
    }
}

static void run_hex(struct reading *r, uint8_t *p, size_t n)
{
    struct hex h;
    size_t len = hex_read(&h, p, n);
    if (h.why) {
        char why[128];
        (void)snprintf(why, sizeof why, "line %u of the input: %s", h.line, h.why);
        print_error(r, h.at, why);
        return;
    }
    run_raw(r, p, len);
}

static void run_pcap(struct reading *r, const uint8_t *p, size_t n)
{
    struct pcap cap;
    struct segment g;
    if (pcap_open(&cap, p, n)) {
        print_error(r, cap.at, cap.why);
        return;
    }
    struct streams *s = streams_new(r->o->secrets, r->o->leaks ? &r->o->view : NULL, print, r);
    int err = s ? OK : ERR_NOMEM;
    int got = OK;
    while (!err && (got = pcap_next(&cap, &g)) == OK)
        err = streams_segment(s, &g);
    if (!err)
        err = streams_end(s);
    streams_free(s);
    if (err)
        no_memory(r);
    if (!err && got != ERR_EOF)
        print_error(r, cap.at, cap.why);
    if (!err && cap.fragments > 0)
        print_error(r, 0, "the capture has IP fragments, which are not put together");
    if (!err && cap.cut > 0)
        print_error(r, 0, "the capture has packets whose headers are cut off");
}

/* Text of digits and blanks is hex; a capture tells by its first bytes. */
static enum decode_form guess(const uint8_t *p, size_t n)
{
    if (pcap_magic(p, n))
        return DECODE_PCAP;
    size_t digits = 0;
    for (size_t i = 0; i < n && i < 64; i++) {
        digits += hex_digit(p[i]) >= 0;
        if (!isprint(p[i]) && !isspace(p[i]))
            return DECODE_RAW;
    }
    return digits > 0 ? DECODE_HEX : DECODE_RAW;
}

static bool one_of(const char *const *all, size_t count, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(all[i]) == n && memcmp(all[i], p, n) == 0)
            return true;
    return false;
}

static bool topic_in_view(void *arg, const uint8_t *name, size_t n)
{
    const struct decode_options *o = arg;
    return one_of(o->topics, o->ntopics, name, n);
}

static bool text_in_view(void *arg, const uint8_t *text, size_t n)
{
    const struct decode_options *o = arg;
    return one_of(o->texts, o->ntexts, text, n);
}

static bool group_in_view(void *arg, const uint8_t *id, size_t n)
{
    const struct decode_options *o = arg;
    size_t len = strlen(o->group_prefix);
    return n >= len && memcmp(o->group_prefix, id, len) == 0;
}

int decode_run(struct decode_options *o, uint8_t *p, size_t n, FILE *out)
{
    struct reading r = {.o = o, .out = out};
    o->view.hosts = o->hosts;
    o->view.ports = o->ports;
    o->view.topic = o->ntopics > 0 ? topic_in_view : NULL;
    o->view.group = o->group_prefix ? group_in_view : NULL;
    o->view.text = text_in_view;
    o->view.arg = o;
    enum decode_form form = o->form == DECODE_GUESS ? guess(p, n) : o->form;
    if (form == DECODE_PCAP)
        run_pcap(&r, p, n);
    else if (form == DECODE_HEX)
        run_hex(&r, p, n);
    else
        run_raw(&r, p, n);
    if (!r.seen && !r.bad)
        print_error(&r, 0,
                    form == DECODE_PCAP ? "the capture holds no data of TCP streams"
                                        : "the input is empty");
    buf_thread_trim();
    if (fflush(out) || ferror(out))
        return EXIT_BAD;
    return r.bad ? EXIT_BAD : r.leaked ? EXIT_LEAKS : 0;
}

/* --- arguments */

static const char usage[] =
    "usage: sluice decode [--request|--response] [--api KEY|NAME] [--version N]\n"
    "                     [--hex|--raw|--pcap] [--text] [--show-secrets] [FILE]\n"
    "       sluice decode --leaks --advertise HOST:PORT ... [--node N] [--cluster ID]\n"
    "                     [--topic NAME] ... [--group-prefix PREFIX] [--own-text TEXT] ...\n"
    "                     [as above]\n"
    "\n"
    "Prints Kafka frames (with their 4-byte length in front) as JSON, one a line.\n"
    "  --request       requests, which tell their API and version themselves (default)\n"
    "  --response      responses; --api and --version say to what\n"
    "  --hex           hexadecimal, also as xxd and hexdump -C print it\n"
    "  --raw           bytes\n"
    "  --pcap          a packet capture of plain TCP; both directions, answers matched. The\n"
    "                  classic format in either byte order, micro- and nanoseconds; Ethernet,\n"
    "                  Linux cooked, loopback or raw IP. No pcapng, no TLS, no IP fragments\n"
    "  --text          indented text instead of JSON\n"
    "  --show-secrets  tokens, passwords and keys as well\n"
    "  --leaks         only answers that show what they should not, with what it is: any\n"
    "                  broker but the advertised (--advertise, --node, 0 by default, and\n"
    "                  --cluster), racks, brokers' own words (but --own-text), unknown tags,\n"
    "                  and, where given, names but --topic and what begins with --group-prefix\n"
    "What cannot be read is told with its bytes (\"unread\", base64), as are unknown tags.\n"
    "FILE \"-\" or none is standard input. Without a form, it is guessed.\n"
    "Exit code 2 when something could not be decoded, 3 when an answer leaks.\n";

static int usage_error(const char *what, const char *arg)
{
    fprintf(stderr, "sluice decode: %s%s%s\n\n%s", what, arg ? ": " : "", arg ? arg : "", usage);
    return EXIT_BAD;
}

static bool number(const char *s, int max, int *out)
{
    char *end;
    errno = 0;
    long v = strtol(s, &end, 10);
    if (errno || end == s || *end || v < 0 || v > max)
        return false;
    *out = (int)v;
    return true;
}

static bool api(const char *s, int *out)
{
    if (!number(s, INT16_MAX, out))
        *out = schema_api_key(s);
    return *out >= 0 && schema_api_name(*out) != NULL;
}

/* "host:port"; the text is cut there. */
static bool advertised(struct decode_options *o, char *text)
{
    char *colon = strrchr(text, ':');
    int port = 0;
    if (!colon || colon == text || o->view.naddresses == DECODE_NAMES_MAX ||
        !number(colon + 1, UINT16_MAX, &port))
        return false;
    *colon = '\0';
    size_t n = (size_t)(colon - text);
    if (text[0] == '[' && text[n - 1] == ']') {
        text[n - 1] = '\0';
        text++;
    }
    o->hosts[o->view.naddresses] = text;
    o->ports[o->view.naddresses++] = port;
    return true;
}

/* The options of --leaks; NULL, or what is wrong. */
static const char *view_option(struct decode_options *o, int c, char *value)
{
    if (c == 'l')
        o->leaks = true;
    else if (c == 'C')
        o->view.cluster = value;
    else if (c == 'G')
        o->group_prefix = value;
    else if (c == 'A')
        return advertised(o, value) ? NULL : "--advertise takes HOST:PORT, 256 times at most";
    else if (c == 'N')
        return number(value, INT32_MAX, &o->view.node) ? NULL : "--node takes a number";
    else if (c == 'T' ? o->ntopics == DECODE_NAMES_MAX : o->ntexts == DECODE_NAMES_MAX)
        return "--topic and --own-text may stand 256 times at most";
    else if (c == 'T')
        o->topics[o->ntopics++] = value;
    else
        o->texts[o->ntexts++] = value;
    return NULL;
}

/* Returns -1 to go on, else the exit code. *file: NULL for standard input. */
static int parse(int argc, char **argv, struct decode_options *o, const char **file)
{
    static const struct option longs[] = {
        {"request", no_argument, NULL, 'q'},
        {"response", no_argument, NULL, 'r'},
        {"api", required_argument, NULL, 'a'},
        {"version", required_argument, NULL, 'v'},
        {"hex", no_argument, NULL, 'x'},
        {"raw", no_argument, NULL, 'b'},
        {"pcap", no_argument, NULL, 'p'},
        {"text", no_argument, NULL, 't'},
        {"show-secrets", no_argument, NULL, 's'},
        {"leaks", no_argument, NULL, 'l'},
        {"advertise", required_argument, NULL, 'A'},
        {"node", required_argument, NULL, 'N'},
        {"cluster", required_argument, NULL, 'C'},
        {"topic", required_argument, NULL, 'T'},
        {"group-prefix", required_argument, NULL, 'G'},
        {"own-text", required_argument, NULL, 'O'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *wrong;
    *o = (struct decode_options){.api = -1, .version = -1};
    optind = 0; /* start anew, whoever parsed before */
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "+h", longs, NULL)) != -1;) {
        if (c == 'h') {
            fputs(usage, stdout);
            return 0;
        } else if (c == 'a') {
            if (!api(optarg, &o->api))
                return usage_error("no such API", optarg);
        } else if (c == 'v') {
            if (!number(optarg, INT16_MAX, &o->version))
                return usage_error("no such version", optarg);
        } else if (c == 'q' || c == 'r') {
            o->response = c == 'r';
        } else if (c == 'x' || c == 'b' || c == 'p') {
            o->form = c == 'x' ? DECODE_HEX : c == 'b' ? DECODE_RAW : DECODE_PCAP;
        } else if (c == 't') {
            o->text = true;
        } else if (c == 's') {
            o->secrets = true;
        } else if (c != '?' && strchr("lANCTGO", c)) {
            wrong = view_option(o, c, optarg);
            if (wrong)
                return usage_error(wrong, optarg);
        } else {
            return usage_error("no such option, or its value is missing", argv[optind - 1]);
        }
    }
    if (argc - optind > 1)
        return usage_error("one file at a time", argv[optind + 1]);
    if (o->response && o->form != DECODE_PCAP && (o->api < 0 || o->version < 0))
        return usage_error("a response needs --api and --version", NULL);
    if (o->leaks && o->view.naddresses == 0)
        return usage_error("--leaks needs --advertise", NULL);
    *file = optind < argc && strcmp(argv[optind], "-") != 0 ? argv[optind] : NULL;
    return -1;
}

/* Everything of the file; free *p. ERR_LIMIT above DECODE_INPUT_MAX, ERR_IO with errno. */
static int slurp(FILE *in, uint8_t **p, size_t *n)
{
    size_t cap = 0;
    *p = NULL;
    *n = 0;
    for (;;) {
        if (*n == cap) {
            if (cap >= DECODE_INPUT_MAX)
                return ERR_LIMIT;
            cap = cap ? 2 * cap : 65536;
            uint8_t *more = realloc(*p, cap);
            if (!more)
                return ERR_NOMEM;
            *p = more;
        }
        size_t got = fread(*p + *n, 1, cap - *n, in);
        *n += got;
        if (got == 0)
            return ferror(in) ? ERR_IO : OK;
    }
}

int decode_main(int argc, char **argv)
{
    struct decode_options o;
    const char *file = NULL;
    int code = parse(argc, argv, &o, &file);
    if (code >= 0)
        return code;
    FILE *in = file ? fopen(file, "rbe") : stdin;
    if (!in) {
        fprintf(stderr, "sluice decode: %s: %s\n", file, strerror(errno));
        return EXIT_BAD;
    }
    uint8_t *p;
    size_t n;
    int err = slurp(in, &p, &n);
    if (err) {
        fprintf(stderr, "sluice decode: %s: %s\n", file ? file : "standard input",
                err == ERR_IO      ? strerror(errno)
                : err == ERR_LIMIT ? "larger than 1 GiB"
                                   : "out of memory");
        code = EXIT_BAD;
    } else {
        code = decode_run(&o, p, n, stdout);
    }
    free(p);
    if (file)
        (void)fclose(in);
    return code;
}
