/* demo-brokers: librdkafka's mock cluster, so that the demonstration and fast tests need no Java.
 * Several brokers live in this one process, each on a loopback port of its own, without TLS or
 * login: what a provider's inner network looks like to the gate. It knows the protocol as of
 * Kafka 2.x or so (Fetch up to 11, no topic ids) and keeps the last 5 MiB of a partition.
 *
 * With --commands it takes one command a line on standard input, for tests of the gate's healing:
 *   down N | up N | leader TOPIC PARTITION N | rtt N MS */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "demo/util.h"

#define TOPICS_MAX       64
#define PARTITIONS_MAX   256
#define BROKERS_MAX      9
#define COMMAND_MAX_LINE 512
#define COMMAND_WORDS    4
#define RTT_MAX_MS       60000

struct topic {
    char *name;
    long partitions;
};

struct options {
    const char *ready_file;
    struct topic topics[TOPICS_MAX];
    size_t topic_count;
    long brokers;
    bool commands;
};

static const char usage[] =
    "demo-brokers: an embedded Kafka cluster for demonstrations and tests\n"
    "  --brokers N          how many (3)\n"
    "  --topic NAME:N       a topic of N partitions, led in turn by all brokers; repeatable\n"
    "  --ready-file FILE    gets the bootstrap list, one line, once they listen\n"
    "  --commands           take commands on standard input: down N, up N,\n"
    "                       leader TOPIC PARTITION N, rtt N MS\n";

static int topic_add(struct options *o, const char *text)
{
    const char *colon = strrchr(text, ':');
    struct topic *t = &o->topics[o->topic_count];

    if (o->topic_count == TOPICS_MAX || !colon || colon == text ||
        util_number(colon + 1, 1, PARTITIONS_MAX, &t->partitions))
        return ERR_CONFIG;
    t->name = strndup(text, (size_t)(colon - text));
    if (!t->name)
        return ERR_NOMEM;
    o->topic_count++;
    return OK;
}

static int options_read(struct options *o, int argc, char **argv)
{
    static const struct option known[] = {{"brokers", required_argument, NULL, 'b'},
                                          {"topic", required_argument, NULL, 't'},
                                          {"ready-file", required_argument, NULL, 'r'},
                                          {"commands", no_argument, NULL, 'c'},
                                          {0}};
    int option;
    int err = OK;

    *o = (struct options){.brokers = 3};
    while (!err && (option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'b')
            err = util_number(optarg, 1, BROKERS_MAX, &o->brokers);
        else if (option == 't')
            err = topic_add(o, optarg);
        else if (option == 'r')
            o->ready_file = optarg;
        else if (option == 'c')
            o->commands = true;
        else
            err = ERR_CONFIG;
    }
    return err ? err : optind == argc ? OK : ERR_CONFIG;
}

/* Above this version the mock's answers to ListOffsets are not what Kafka's would be (librdkafka
 * 2.0.2 leaves bytes over), and a strict reader ends the connection. */
#define API_LIST_OFFSETS 2
#define LIST_OFFSETS_MAX 1

static int topics_create(rd_kafka_mock_cluster_t *cluster, const struct options *o)
{
    for (size_t i = 0; i < o->topic_count; i++) {
        const struct topic *t = &o->topics[i];
        int replicas = o->brokers < 3 ? (int)o->brokers : 3;
        rd_kafka_resp_err_t err =
            rd_kafka_mock_topic_create(cluster, t->name, (int)t->partitions, replicas);
        for (int32_t p = 0; !err && p < (int32_t)t->partitions; p++)
            err = rd_kafka_mock_partition_set_leader(cluster, t->name, p,
                                                     p % (int32_t)o->brokers + 1);
        if (err) {
            fprintf(stderr, "demo-brokers: topic %s: %s\n", t->name, rd_kafka_err2str(err));
            return ERR_CONFIG;
        }
    }
    return OK;
}

/* A number in words[i]; what is missing is not one. */
static int word_number(char *const *words, size_t i, long max, int *out)
{
    long n;
    int err = words[i] ? util_number(words[i], 0, max, &n) : ERR_MALFORMED;

    if (!err)
        *out = (int)n;
    return err;
}

static rd_kafka_resp_err_t command_apply(rd_kafka_mock_cluster_t *cluster, char *const *words)
{
    const char *what = words[0] ? words[0] : "";
    int broker;
    int value;

    if (strcmp(what, "leader") == 0 && words[1] && !word_number(words, 2, PARTITIONS_MAX, &value) &&
        !word_number(words, 3, BROKERS_MAX, &broker))
        return rd_kafka_mock_partition_set_leader(cluster, words[1], value, broker);
    if (word_number(words, 1, BROKERS_MAX, &broker))
        return RD_KAFKA_RESP_ERR__INVALID_ARG;
    if (strcmp(what, "down") == 0)
        return rd_kafka_mock_broker_set_down(cluster, broker);
    if (strcmp(what, "up") == 0)
        return rd_kafka_mock_broker_set_up(cluster, broker);
    if (strcmp(what, "rtt") == 0 && !word_number(words, 2, RTT_MAX_MS, &value))
        return rd_kafka_mock_broker_set_rtt(cluster, broker, value);
    return RD_KAFKA_RESP_ERR__INVALID_ARG;
}

/* One command; says "ok" or what is wrong on standard output, so that a test can wait for it. */
static void command_run(rd_kafka_mock_cluster_t *cluster, char *line)
{
    char *words[COMMAND_WORDS + 1] = {0};
    char *rest = NULL;
    char *word = strtok_r(line, " \t\r", &rest);

    for (size_t i = 0; i < COMMAND_WORDS && word; i++) {
        words[i] = word;
        word = strtok_r(NULL, " \t\r", &rest);
    }
    rd_kafka_resp_err_t err = command_apply(cluster, words);
    puts(err ? rd_kafka_err2str(err) : "ok");
    fflush(stdout);
}

/* Runs the whole lines that have come. Returns false at the end of input. */
static bool commands_read(rd_kafka_mock_cluster_t *cluster, char *buf, size_t *held)
{
    ssize_t n = read(STDIN_FILENO, buf + *held, COMMAND_MAX_LINE - *held - 1);

    if (n <= 0)
        return n < 0 && errno == EINTR;
    *held += (size_t)n;
    buf[*held] = '\0';
    char *start = buf;
    for (char *nl; (nl = strchr(start, '\n')); start = nl + 1) {
        *nl = '\0';
        command_run(cluster, start);
    }
    *held = strlen(start);
    memmove(buf, start, *held + 1);
    if (*held == COMMAND_MAX_LINE - 1)
        *held = 0; /* no command is that long */
    return true;
}

/* Until SIGTERM or SIGINT, which signals_fd tells. */
static void wait_for_end(rd_kafka_mock_cluster_t *cluster, int signals_fd, bool commands)
{
    char buf[COMMAND_MAX_LINE];
    size_t held = 0;
    struct pollfd fds[2] = {{.fd = signals_fd, .events = POLLIN},
                            {.fd = commands ? STDIN_FILENO : -1, .events = POLLIN}};

    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return;
        if (fds[0].revents)
            return;
        if (fds[1].revents && !commands_read(cluster, buf, &held))
            fds[1].fd = -1;
    }
}

static int run(const struct options *o, int signals_fd)
{
    char errstr[256];
    int err = ERR_IO;
    rd_kafka_mock_cluster_t *cluster = NULL;

    /* A client instance is what the mock cluster hangs on; itself it connects to nothing. */
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    (void)rd_kafka_conf_set(conf, "log_level", "4", NULL, 0);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, errstr, sizeof(errstr));
    if (!rk) {
        fprintf(stderr, "demo-brokers: %s\n", errstr);
        return ERR_IO;
    }
    cluster = rd_kafka_mock_cluster_new(rk, (int)o->brokers);
    if (cluster && rd_kafka_mock_set_apiversion(cluster, API_LIST_OFFSETS, 0, LIST_OFFSETS_MAX))
        err = ERR_IO;
    else if (cluster)
        err = topics_create(cluster, o);
    if (!err) {
        const char *bootstrap = rd_kafka_mock_cluster_bootstraps(cluster);
        printf("demo-brokers ready: %s\n", bootstrap);
        fflush(stdout);
        err = util_write_ready(o->ready_file, bootstrap);
        if (err)
            perror("demo-brokers: ready file");
        else
            wait_for_end(cluster, signals_fd, o->commands);
    }
    if (cluster)
        rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(rk);
    return err;
}

int main(int argc, char **argv)
{
    static struct options o;
    sigset_t ends;

    if (options_read(&o, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    /* Blocked before librdkafka starts its threads, so that only the descriptor sees them. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    int signals_fd = signalfd(-1, &ends, SFD_CLOEXEC);
    if (signals_fd < 0) {
        perror("demo-brokers");
        return 1;
    }
    int err = run(&o, signals_fd);
    close(signals_fd);
    for (size_t i = 0; i < o.topic_count; i++)
        free(o.topics[i].name);
    return err ? 1 : 0;
}
