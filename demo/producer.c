/* demo-producer: the provider's own application, as the demonstration needs one. Writes events that
 * look like Catena-X SerialPart aspects (CX-0127) straight to the brokers, keyed by catenaXId, at a
 * steady rate, until SIGTERM or --count. Knows nothing of the gate. One thread beside librdkafka's.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <librdkafka/rdkafka.h>

#include "demo/util.h"

#define RATE_MAX_PER_S 100000
#define FLUSH_MS       5000

struct options {
    const char *brokers;
    const char *topic;
    const char *ready_file;
    long rate_per_s;
    long count; /* 0: without end */
};

/* What is built on the line in this plant. */
struct part_type {
    const char *name;
    const char *manufacturer_part_id;
    const char *customer_part_id;
    const char *classification;
};

static const struct part_type part_types[] = {
    {"HV battery module", "NMC-96S1P-0417", "8W0-915-105-C", "27440190"},
    {"Battery management controller", "BMC-12V-2231", "8W0-915-181-A", "27242608"},
    {"Electric drive unit, rear", "EDU-R-160-118", "8W0-901-040-F", "27022602"},
    {"On-board charger 11 kW", "OBC-11-0093", "8W0-915-684-B", "27049003"},
};

static const char usage[] = "demo-producer: writes SerialPart events to a Kafka topic\n"
                            "  --brokers LIST       bootstrap servers\n"
                            "  --topic NAME         (serial-parts)\n"
                            "  --rate N             events a second (20)\n"
                            "  --count N            then end (0: go on until SIGTERM)\n"
                            "  --ready-file FILE    written when the first event has arrived\n";

static volatile sig_atomic_t ending;

static void on_signal(int signal_number)
{
    (void)signal_number;
    ending = 1;
}

struct run {
    const struct options *options;
    bool ready;
    unsigned long delivered;
    unsigned long failed;
};

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct run *run = opaque;

    (void)rk;
    if (m->err) {
        run->failed++;
        fprintf(stderr, "demo-producer: %s\n", rd_kafka_err2str(m->err));
        return;
    }
    run->delivered++;
    if (!run->ready) {
        run->ready = true;
        if (util_write_ready(run->options->ready_file, "ready\n"))
            perror("demo-producer: ready file");
    }
}

/* A version 4 UUID. These ids are sample data, not secrets: random(3) will do. */
static void uuid_make(char out[37])
{
    unsigned long a = (unsigned long)random();
    unsigned long b = (unsigned long)random();
    unsigned long c = (unsigned long)random();
    unsigned long d = (unsigned long)random();

    snprintf(out, 37, "%08lx-%04lx-4%03lx-%04lx-%04lx%08lx", a & 0xffffffff, b & 0xffff,
             b >> 16 & 0xfff, 0x8000 | (c & 0x3fff), c >> 14 & 0xffff, d & 0xffffffff);
}

/* One part that has just left the line, as JSON text; malloc'd. key gets its catenaXId. */
static char *part_make(unsigned long serial, char key[64])
{
    const struct part_type *type = &part_types[serial % (sizeof(part_types) / sizeof(*part_types))];
    char uuid[37];
    char made[32];
    char instance[32];
    char van[32];
    time_t now = time(NULL);
    struct tm tm;

    uuid_make(uuid);
    snprintf(key, 64, "urn:uuid:%s", uuid);
    strftime(made, sizeof(made), "%Y-%m-%dT%H:%M:%S.000Z", gmtime_r(&now, &tm));
    snprintf(instance, sizeof(instance), "SN-%06lu", serial % 1000000);
    snprintf(van, sizeof(van), "OMAYS%012lu", serial % 1000000000000UL);
    json_t *part = json_pack(
        "{s:s, s:[{s:s,s:s},{s:s,s:s},{s:s,s:s}], s:{s:s,s:s,s:[{s:s,s:s}]},"
        " s:{s:s,s:s,s:s,s:[{s:s,s:s,s:s}]}}",
        "catenaXId", key, "localIdentifiers", "key", "manufacturerId", "value", "BPNL00000003B2OM",
        "key", "partInstanceId", "value", instance, "key", "van", "value", van,
        "manufacturingInformation", "date", made, "country", "DEU", "sites", "catenaXsiteId",
        "BPNS00000003B2OM", "function", "production", "partTypeInformation", "manufacturerPartId",
        type->manufacturer_part_id, "customerPartId", type->customer_part_id, "nameAtManufacturer",
        type->name, "partClassification", "classificationStandard", "ECLASS", "classificationID",
        type->classification, "classificationDescription", type->name);
    char *text = part ? json_dumps(part, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;

    json_decref(part);
    return text;
}

static int event_send(rd_kafka_topic_t *topic, unsigned long serial)
{
    char key[64];
    char *text = part_make(serial, key);

    if (!text)
        return ERR_NOMEM;
    if (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_FREE, text, strlen(text), key,
                         strlen(key), NULL) == 0)
        return OK;
    free(text);
    return rd_kafka_last_error() == RD_KAFKA_RESP_ERR__QUEUE_FULL ? ERR_BUSY : ERR_IO;
}

static int produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, const struct options *o)
{
    int64_t start_us = util_mono_us();
    unsigned long sent = 0;

    while (!ending && (o->count == 0 || sent < (unsigned long)o->count)) {
        int64_t due_us = start_us + (int64_t)sent * 1000000 / o->rate_per_s;
        int64_t early_ms = (due_us - util_mono_us()) / 1000;

        rd_kafka_poll(rk, early_ms > 0 ? (int)(early_ms < 200 ? early_ms : 200) : 0);
        if (early_ms > 0)
            continue;
        int err = event_send(topic, sent + 1);
        if (err == ERR_BUSY)
            rd_kafka_poll(rk, 100);
        else if (err)
            return err;
        else
            sent++;
    }
    return rd_kafka_flush(rk, FLUSH_MS) ? ERR_TIMEOUT : OK;
}

static int options_read(struct options *o, int argc, char **argv)
{
    static const struct option known[] = {
        {"brokers", required_argument, NULL, 'b'},    {"topic", required_argument, NULL, 't'},
        {"rate", required_argument, NULL, 'r'},       {"count", required_argument, NULL, 'n'},
        {"ready-file", required_argument, NULL, 'f'}, {0}};
    int option;
    int err = OK;

    *o = (struct options){.topic = "serial-parts", .rate_per_s = 20};
    while (!err && (option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'b')
            o->brokers = optarg;
        else if (option == 't')
            o->topic = optarg;
        else if (option == 'r')
            err = util_number(optarg, 1, RATE_MAX_PER_S, &o->rate_per_s);
        else if (option == 'n')
            err = util_number(optarg, 0, 1000000000, &o->count);
        else if (option == 'f')
            o->ready_file = optarg;
        else
            err = ERR_CONFIG;
    }
    return err ? err : optind == argc && o->brokers ? OK : ERR_CONFIG;
}

static rd_kafka_t *client_new(struct run *run)
{
    char why[256] = "out of memory";
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    if (rd_kafka_conf_set(conf, "bootstrap.servers", run->options->brokers, why, sizeof(why)) ||
        rd_kafka_conf_set(conf, "linger.ms", "5", why, sizeof(why))) {
        rd_kafka_conf_destroy(conf);
        fprintf(stderr, "demo-producer: %s\n", why);
        return NULL;
    }
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, run);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        fprintf(stderr, "demo-producer: %s\n", why);
    }
    return rk;
}

int main(int argc, char **argv)
{
    struct options o;
    struct sigaction action = {.sa_handler = on_signal};
    struct run run = {.options = &o};

    if (options_read(&o, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    srandom((unsigned)(time(NULL) ^ getpid()));
    rd_kafka_t *rk = client_new(&run);
    if (!rk)
        return 1;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, o.topic, NULL);
    int err = topic ? produce(rk, topic, &o) : ERR_CONFIG;
    if (topic)
        rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    printf("demo-producer: %lu events delivered, %lu failed\n", run.delivered, run.failed);
    return err || run.failed ? 1 : 0;
}
