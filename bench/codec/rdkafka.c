/* librdkafka's side of `make bench-codec`: its own reading calls (rdkafka_buf.h, rdbuf.c), in the
 * order of its own handlers: of the client for answers (rdkafka_metadata.c, rdkafka_fetcher.c,
 * rdkafka_request.c, rdkafka_cgrp.c), of its mock broker for requests (rdkafka_mock_handlers.c).
 * What the handlers do with what they have read is left out (lists, copies, look-ups, locks), so
 * the library as it is used is slower than this. Prints "CASE librdkafka NANOSECONDS" a round.
 *
 * Includes the library's internal headers, so it is compiled as the library is. */
#include "rd.h"
#include "rdkafka_int.h"
#include "rdkafka_buf.h"
#include "rdkafka_proto.h"

#include "measure.h"

/* Messages of flexible versions are read with other lengths. */
static bool flexible(const struct bench_case *c)
{
    switch (c->api) {
    case RD_KAFKAP_Metadata:
        return c->version >= 9;
    case RD_KAFKAP_Fetch:
        return c->version >= 12;
    case RD_KAFKAP_Produce:
        return c->version >= 9;
    case RD_KAFKAP_JoinGroup:
        return c->version >= 6;
    case RD_KAFKAP_OffsetCommit:
        return c->version >= 8;
    default:
        quit(c->name, "is not a case of this program");
        return false;
    }
}

static volatile int64_t sink;

static int metadata_request(rd_kafka_buf_t *rkbuf, int version)
{
    const int log_decode_errors = 0;
    int32_t cnt;
    rd_kafkap_str_t name;
    rd_kafka_Uuid_t id;
    rd_bool_t flag = 0;

    rd_kafka_buf_read_arraycnt(rkbuf, &cnt, RD_KAFKAP_TOPICS_MAX);
    for (int32_t i = 0; i < cnt; i++) {
        if (version >= 10)
            rd_kafka_buf_read_uuid(rkbuf, &id);
        rd_kafka_buf_read_str(rkbuf, &name);
        rd_kafka_buf_skip_tags(rkbuf);
        sink += name.len;
    }
    rd_kafka_buf_read_bool(rkbuf, &flag);
    if (version >= 8 && version <= 10)
        rd_kafka_buf_read_bool(rkbuf, &flag);
    if (version >= 8)
        rd_kafka_buf_read_bool(rkbuf, &flag);
    rd_kafka_buf_skip_tags(rkbuf);
    sink += flag;
    return 0;
err_parse:
    return -1;
}

static int metadata_partition(rd_kafka_buf_t *rkbuf)
{
    const int log_decode_errors = 0;
    int16_t err;
    int32_t id, leader, epoch, cnt, node;

    rd_kafka_buf_read_i16(rkbuf, &err);
    rd_kafka_buf_read_i32(rkbuf, &id);
    rd_kafka_buf_read_i32(rkbuf, &leader);
    rd_kafka_buf_read_i32(rkbuf, &epoch);
    sink += err + id + leader + epoch;
    rd_kafka_buf_read_arraycnt(rkbuf, &cnt, RD_KAFKAP_BROKERS_MAX);
    for (int32_t k = 0; k < cnt; k++) {
        rd_kafka_buf_read_i32(rkbuf, &node);
        sink += node;
    }
    rd_kafka_buf_read_arraycnt(rkbuf, &cnt, RD_KAFKAP_BROKERS_MAX);
    for (int32_t k = 0; k < cnt; k++) {
        rd_kafka_buf_read_i32(rkbuf, &node);
        sink += node;
    }
    rd_kafka_buf_read_arraycnt(rkbuf, &cnt, RD_KAFKAP_BROKERS_MAX);
    rd_kafka_buf_skip(rkbuf, (size_t)cnt * sizeof(int32_t));
    rd_kafka_buf_skip_tags(rkbuf);
    return 0;
err_parse:
    return -1;
}

static int metadata_response(rd_kafka_buf_t *rkbuf, int version)
{
    const int log_decode_errors = 0;
    int32_t v, cnt, partitions;
    int16_t err;
    rd_kafkap_str_t text;
    rd_kafka_Uuid_t id;
    rd_bool_t internal;

    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_arraycnt(rkbuf, &cnt, RD_KAFKAP_BROKERS_MAX);
    for (int32_t i = 0; i < cnt; i++) {
        rd_kafka_buf_read_i32(rkbuf, &v);
        rd_kafka_buf_read_str(rkbuf, &text);
        rd_kafka_buf_read_i32(rkbuf, &v);
        rd_kafka_buf_read_str(rkbuf, &text);
        rd_kafka_buf_skip_tags(rkbuf);
        sink += v + text.len;
    }
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_arraycnt(rkbuf, &cnt, RD_KAFKAP_TOPICS_MAX);
    for (int32_t i = 0; i < cnt; i++) {
        rd_kafka_buf_read_i16(rkbuf, &err);
        rd_kafka_buf_read_str(rkbuf, &text);
        if (version >= 10)
            rd_kafka_buf_read_uuid(rkbuf, &id);
        rd_kafka_buf_read_bool(rkbuf, &internal);
        rd_kafka_buf_read_arraycnt(rkbuf, &partitions, RD_KAFKAP_PARTITIONS_MAX);
        for (int32_t p = 0; p < partitions; p++)
            if (metadata_partition(rkbuf))
                return -1;
        rd_kafka_buf_read_i32(rkbuf, &v);
        rd_kafka_buf_skip_tags(rkbuf);
        sink += err + text.len + internal;
    }
    if (version >= 8 && version <= 10)
        rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_skip_tags(rkbuf);
    return 0;
err_parse:
    return -1;
}

static int fetch_request(rd_kafka_buf_t *rkbuf, int version)
{
    const int log_decode_errors = 0;
    int32_t v, session, topics, partitions, epoch;
    int8_t isolation;
    int64_t offset, start;
    rd_kafkap_str_t rack;
    rd_kafka_Uuid_t id;

    if (version <= 14)
        rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_i8(rkbuf, &isolation);
    rd_kafka_buf_read_i32(rkbuf, &session);
    rd_kafka_buf_read_i32(rkbuf, &epoch);
    rd_kafka_buf_read_arraycnt(rkbuf, &topics, RD_KAFKAP_TOPICS_MAX);
    while (topics-- > 0) {
        rd_kafka_buf_read_uuid(rkbuf, &id);
        rd_kafka_buf_read_arraycnt(rkbuf, &partitions, RD_KAFKAP_PARTITIONS_MAX);
        while (partitions-- > 0) {
            rd_kafka_buf_read_i32(rkbuf, &v);
            rd_kafka_buf_read_i32(rkbuf, &epoch);
            rd_kafka_buf_read_i64(rkbuf, &offset);
            rd_kafka_buf_read_i32(rkbuf, &epoch);
            rd_kafka_buf_read_i64(rkbuf, &start);
            rd_kafka_buf_read_i32(rkbuf, &v);
            rd_kafka_buf_skip_tags(rkbuf);
            sink += v + epoch + offset + start;
        }
        rd_kafka_buf_skip_tags(rkbuf);
    }
    rd_kafka_buf_read_arraycnt(rkbuf, &topics, RD_KAFKAP_TOPICS_MAX);
    while (topics-- > 0) {
        rd_kafka_buf_read_uuid(rkbuf, &id);
        rd_kafka_buf_read_arraycnt(rkbuf, &partitions, RD_KAFKAP_PARTITIONS_MAX);
        while (partitions-- > 0)
            rd_kafka_buf_read_i32(rkbuf, &v);
        rd_kafka_buf_skip_tags(rkbuf);
    }
    rd_kafka_buf_read_str(rkbuf, &rack);
    rd_kafka_buf_skip_tags(rkbuf);
    return 0;
err_parse:
    return -1;
}

static int fetch_partition(rd_kafka_buf_t *rkbuf)
{
    const int log_decode_errors = 0;
    int32_t partition, aborted, replica, size;
    int16_t err;
    int64_t high, stable, start, pid;

    rd_kafka_buf_read_i32(rkbuf, &partition);
    rd_kafka_buf_read_i16(rkbuf, &err);
    rd_kafka_buf_read_i64(rkbuf, &high);
    rd_kafka_buf_read_i64(rkbuf, &stable);
    rd_kafka_buf_read_i64(rkbuf, &start);
    rd_kafka_buf_read_arraycnt(rkbuf, &aborted, RD_KAFKAP_ABORTED_TRANSACTIONS_MAX);
    while (aborted-- > 0) {
        rd_kafka_buf_read_i64(rkbuf, &pid);
        rd_kafka_buf_read_i64(rkbuf, &pid);
        rd_kafka_buf_skip_tags(rkbuf);
    }
    rd_kafka_buf_read_i32(rkbuf, &replica);
    rd_kafka_buf_read_arraycnt(rkbuf, &size, -1);
    rd_kafka_buf_skip(rkbuf, size);
    rd_kafka_buf_skip_tags(rkbuf);
    sink += partition + err + high + stable + start + replica;
    return 0;
err_parse:
    return -1;
}

static int fetch_response(rd_kafka_buf_t *rkbuf, int version)
{
    const int log_decode_errors = 0;
    int32_t v, topics, partitions;
    int16_t err;
    rd_kafka_Uuid_t id;

    (void)version;
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_i16(rkbuf, &err);
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_arraycnt(rkbuf, &topics, RD_KAFKAP_TOPICS_MAX);
    while (topics-- > 0) {
        rd_kafka_buf_read_uuid(rkbuf, &id);
        rd_kafka_buf_read_arraycnt(rkbuf, &partitions, RD_KAFKAP_PARTITIONS_MAX);
        while (partitions-- > 0)
            if (fetch_partition(rkbuf))
                return -1;
        rd_kafka_buf_skip_tags(rkbuf);
    }
    rd_kafka_buf_skip_tags(rkbuf);
    sink += v + err;
    return 0;
err_parse:
    return -1;
}

static int produce_request(rd_kafka_buf_t *rkbuf, int version)
{
    const int log_decode_errors = 0;
    rd_kafkap_str_t text;
    rd_kafkap_bytes_t records;
    int16_t acks;
    int32_t v, topics, partitions;

    (void)version;
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_i16(rkbuf, &acks);
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_arraycnt(rkbuf, &topics, RD_KAFKAP_TOPICS_MAX);
    while (topics-- > 0) {
        rd_kafka_buf_read_str(rkbuf, &text);
        rd_kafka_buf_read_arraycnt(rkbuf, &partitions, RD_KAFKAP_PARTITIONS_MAX);
        while (partitions-- > 0) {
            rd_kafka_buf_read_i32(rkbuf, &v);
            rd_kafka_buf_read_kbytes(rkbuf, &records);
            rd_kafka_buf_skip_tags(rkbuf);
            sink += v + records.len;
        }
        rd_kafka_buf_skip_tags(rkbuf);
        sink += text.len;
    }
    rd_kafka_buf_skip_tags(rkbuf); /* its mock leaves these unread */
    return 0;
err_parse:
    return -1;
}

static int produce_response(rd_kafka_buf_t *rkbuf, int version)
{
    const int log_decode_errors = 0;
    rd_kafkap_str_t text;
    int16_t err;
    int32_t v, topics, partitions, errors;
    int64_t base, appended, start;

    (void)version;
    rd_kafka_buf_read_arraycnt(rkbuf, &topics, RD_KAFKAP_TOPICS_MAX);
    while (topics-- > 0) {
        rd_kafka_buf_read_str(rkbuf, &text);
        rd_kafka_buf_read_arraycnt(rkbuf, &partitions, RD_KAFKAP_PARTITIONS_MAX);
        while (partitions-- > 0) {
            rd_kafka_buf_read_i32(rkbuf, &v);
            rd_kafka_buf_read_i16(rkbuf, &err);
            rd_kafka_buf_read_i64(rkbuf, &base);
            rd_kafka_buf_read_i64(rkbuf, &appended);
            rd_kafka_buf_read_i64(rkbuf, &start);
            rd_kafka_buf_read_arraycnt(rkbuf, &errors, -1);
            while (errors-- > 0) {
                rd_kafka_buf_read_i32(rkbuf, &v);
                rd_kafka_buf_read_str(rkbuf, &text);
                rd_kafka_buf_skip_tags(rkbuf);
            }
            rd_kafka_buf_read_str(rkbuf, &text);
            rd_kafka_buf_skip_tags(rkbuf);
            sink += v + err + base + appended + start + text.len;
        }
        rd_kafka_buf_skip_tags(rkbuf);
    }
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_skip_tags(rkbuf);
    return 0;
err_parse:
    return -1;
}

static int join_request(rd_kafka_buf_t *rkbuf, int version)
{
    const int log_decode_errors = 0;
    rd_kafkap_str_t text;
    rd_kafkap_bytes_t bytes;
    int32_t v, cnt;

    (void)version;
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_i32(rkbuf, &cnt);
    while (cnt-- > 0) {
        rd_kafka_buf_read_str(rkbuf, &text);
        rd_kafka_buf_read_kbytes(rkbuf, &bytes);
        sink += text.len + bytes.len;
    }
    return 0;
err_parse:
    return -1;
}

static int join_response(rd_kafka_buf_t *rkbuf, int version)
{
    const int log_decode_errors = 0;
    rd_kafkap_str_t text;
    rd_kafkap_bytes_t bytes;
    int16_t err;
    int32_t v, cnt;

    (void)version;
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_i16(rkbuf, &err);
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_i32(rkbuf, &cnt);
    while (cnt-- > 0) {
        rd_kafka_buf_read_str(rkbuf, &text);
        rd_kafka_buf_read_str(rkbuf, &text);
        rd_kafka_buf_read_kbytes(rkbuf, &bytes);
        sink += text.len + bytes.len;
    }
    sink += v + err;
    return 0;
err_parse:
    return -1;
}

static int commit_request(rd_kafka_buf_t *rkbuf, int version)
{
    const int log_decode_errors = 0;
    rd_kafkap_str_t text;
    int32_t v, epoch, topics, partitions;
    int64_t offset;

    (void)version;
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_str(rkbuf, &text);
    rd_kafka_buf_read_arraycnt(rkbuf, &topics, RD_KAFKAP_TOPICS_MAX);
    while (topics-- > 0) {
        rd_kafka_buf_read_str(rkbuf, &text);
        rd_kafka_buf_read_arraycnt(rkbuf, &partitions, RD_KAFKAP_PARTITIONS_MAX);
        while (partitions-- > 0) {
            rd_kafka_buf_read_i32(rkbuf, &v);
            rd_kafka_buf_read_i64(rkbuf, &offset);
            rd_kafka_buf_read_i32(rkbuf, &epoch);
            rd_kafka_buf_read_str(rkbuf, &text);
            rd_kafka_buf_skip_tags(rkbuf);
            sink += v + offset + epoch + text.len;
        }
        rd_kafka_buf_skip_tags(rkbuf);
    }
    rd_kafka_buf_skip_tags(rkbuf);
    return 0;
err_parse:
    return -1;
}

static int commit_response(rd_kafka_buf_t *rkbuf, int version)
{
    const int log_decode_errors = 0;
    rd_kafkap_str_t text;
    int16_t err;
    int32_t v, topics, partitions;

    (void)version;
    rd_kafka_buf_read_i32(rkbuf, &v);
    rd_kafka_buf_read_arraycnt(rkbuf, &topics, RD_KAFKAP_TOPICS_MAX);
    while (topics-- > 0) {
        rd_kafka_buf_read_str(rkbuf, &text);
        rd_kafka_buf_read_arraycnt(rkbuf, &partitions, RD_KAFKAP_PARTITIONS_MAX);
        while (partitions-- > 0) {
            rd_kafka_buf_read_i32(rkbuf, &v);
            rd_kafka_buf_read_i16(rkbuf, &err);
            rd_kafka_buf_skip_tags(rkbuf);
            sink += v + err;
        }
        rd_kafka_buf_skip_tags(rkbuf);
        sink += text.len;
    }
    rd_kafka_buf_skip_tags(rkbuf);
    return 0;
err_parse:
    return -1;
}

static int read_one(const struct bench_case *c, rd_kafka_buf_t *b)
{
    switch (c->api) {
    case RD_KAFKAP_Metadata:
        return c->request ? metadata_request(b, c->version) : metadata_response(b, c->version);
    case RD_KAFKAP_Fetch:
        return c->request ? fetch_request(b, c->version) : fetch_response(b, c->version);
    case RD_KAFKAP_Produce:
        return c->request ? produce_request(b, c->version) : produce_response(b, c->version);
    case RD_KAFKAP_JoinGroup:
        return c->request ? join_request(b, c->version) : join_response(b, c->version);
    default:
        return c->request ? commit_request(b, c->version) : commit_response(b, c->version);
    }
}

static rd_kafka_buf_t *buffer; /* one for all rounds of a case: making it is not reading */

static void once(const struct bench_case *c)
{
    rd_slice_init_full(&buffer->rkbuf_reader, &buffer->rkbuf_buf);
    if (read_one(c, buffer) || rd_kafka_buf_read_remain(buffer) != 0)
        quit(c->name, "is not read to its end");
}

int main(int argc, char **argv)
{
    static struct bench_case all[CASES_MAX];
    int n;

    if (argc != 2)
        quit("usage", "bench-rdkafka DIRECTORY");
    n = cases_load(all, argv[1]);
    for (int i = 0; i < n; i++) {
        buffer = rd_kafka_buf_new_shadow(all[i].bytes, all[i].len, NULL);
        if (flexible(&all[i]))
            buffer->rkbuf_flags |= RD_KAFKA_OP_F_FLEXVER;
        measure(&all[i], "librdkafka", once);
        rd_kafka_buf_destroy(buffer);
    }
    return 0;
}
