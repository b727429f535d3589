/* Grants and revocations: what a token may do, since when, until when, and what bars it.
 * Follows design decision 6.
 *
 * One grant_table a worker, plain memory, that worker's thread only (the store's control side has
 * one of its own). The authority is the store (auth/store.h): it sends every change to each
 * worker, which applies it with grant_table_apply and then asks grant_table_allows for each of its
 * sessions. Grants are counted and immutable; a session holds references to those that it was let
 * in by, so a grant's text outlives its removal. The store keeps it bounded: limits.grants, and
 * limits.revocations with GRANT_REVOCATIONS_SPARE more that it could not make durable. */
#ifndef AUTH_GRANT_H
#define AUTH_GRANT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/identity.h"
#include "base/err.h"
#include "config/config.h"

#define GRANT_SEPARATOR_MAX     16 /* group_separator: 15 bytes and a NUL */
#define GRANT_TOPICS_MAX        1024
#define GRANT_TOKENS_MAX        16
#define GRANT_REVOCATIONS_SPARE 16384

enum grant_source { GRANT_FROM_CONFIG, GRANT_FROM_API, GRANT_FROM_CLAIMS };

struct grant {
    atomic_uint refs; /* immutable otherwise; shared by threads */
    enum grant_source source;
    char *id; /* the transfer process; unique; "" for rights in a token that names no transfer */
    char *participant, *agreement, *asset; /* "" when unknown */
    char *issuer, *subject, *client;       /* "" is any; all three "": reached by its id only */
    char **topics;                         /* sorted, unique */
    size_t ntopics;
    char **tokens; /* jti of the issuer, sorted, unique: see grant_table_login */
    size_t ntokens;
    char *group_prefix; /* "": no group at all */
    unsigned operations;
    int64_t not_before, expires; /* epoch s; 0: none */
};

/* ERR_MALFORMED with *why for what no grant can be: no id, no operation, a topic name that Kafka
 * would not take or one of its internal topics, a text above 255 bytes, more topics than
 * GRANT_TOPICS_MAX, more tokens than GRANT_TOKENS_MAX or tokens without their issuer. NULL texts in
 * c are "". */
int grant_new(const struct grant_config *c, enum grant_source source, struct grant **out,
              const char **why) SL_MUST;
/* A grant that stands in the token itself (topics, prefix, operations, with or without a transfer).
 * ERR_DENIED when the claims do not make one. */
int grant_from_claims(const struct identity *id, struct grant **out) SL_MUST;
struct grant *grant_ref(struct grant *g);
void grant_unref(struct grant *g);
/* Everything but source and count is equal. */
bool grant_equal(const struct grant *a, const struct grant *b);

/* A revocation: which tokens are barred for good, and which sessions close. Exactly one kind. */
enum revoke_kind {
    REVOKE_TRANSFER,    /* value: grant id, known or not. Ends the grant and bars tokens that name
                         * it: those issued up to `at` for good, later ones until the transfer is
                         * resumed, which is a grant of that id from the API */
    REVOKE_AGREEMENT,   /* every grant of it (the store adds their transfers), and tokens that name
                         * it in a claim, likewise */
    REVOKE_ASSET,       /* likewise */
    REVOKE_PARTICIPANT, /* likewise */
    REVOKE_SUBJECT,     /* issuer + value, tokens issued up to `at` */
    REVOKE_CLIENT,      /* issuer + value, tokens issued up to `at` */
    REVOKE_JTI,         /* issuer + value */
    REVOKE_TOKEN,       /* tokens without jti: issuer + subject + client, iat up to `at` */
    REVOKE_ISSUER,      /* issuer's not-before: iat < at */
    REVOKE_SESSION,     /* issuer + value: tokens with this `sid`; an ended session never returns */
};
#define REVOKE_KINDS (REVOKE_SESSION + 1)

struct revocation {
    enum revoke_kind kind;
    char *issuer; /* "" where the kind has none */
    char *value;  /* id, subject, client, jti ...; "" for REVOKE_ISSUER */
    char *client; /* REVOKE_TOKEN: beside the subject in value; otherwise "" */
    int64_t at;   /* epoch s when it was made, or the not-before */
    int64_t
        until; /* epoch s after which nothing that it hits can be valid; 0: by its kind and at */
    char *reason;
};

/* NULL texts are "". NULL when memory is short, or when the kind lacks its issuer or value, has one
 * that it should not, or a text exceeds 255 bytes (revocation_check says which, beforehand). */
struct revocation *revocation_new(enum revoke_kind kind, const char *issuer, const char *value,
                                  const char *client, int64_t at, int64_t until,
                                  const char *reason) SL_MUST;
/* ERR_MALFORMED for what revocation_new would refuse. */
int revocation_check(enum revoke_kind kind, const char *issuer, const char *value,
                     const char *client, const char *reason) SL_MUST;
/* The revocation that bars this very token: its jti, or without one issuer, subject and client with
 * iat up to `at` (or to the token's own iat where that is later). */
struct revocation *revocation_for_token(const struct identity *id, int64_t at,
                                        const char *reason) SL_MUST;
struct revocation *revocation_clone(const struct revocation *r) SL_MUST;
void revocation_free(struct revocation *r);
/* "transfer", "agreement" ...; never NULL. */
const char *revoke_kind_name(enum revoke_kind k);

/* What the store tells each worker: items that are applied in order, in one turn. */
enum change_kind { CHANGE_GRANT, CHANGE_UNGRANT, CHANGE_REVOKE, CHANGE_FORGET };
struct change_item {
    enum change_kind kind;
    struct grant *grant;                 /* CHANGE_GRANT: a new or replaced grant */
    const char *id;                      /* CHANGE_UNGRANT */
    const struct revocation *revocation; /* CHANGE_REVOKE, CHANGE_FORGET */
};
struct change {
    uint64_t number; /* ascending */
    const struct change_item *items;
    size_t count;
};

struct grant_table;
/* Takes group_separator from c, which need not outlive the call. */
struct grant_table *grant_table_new(const struct config *c) SL_MUST;
void grant_table_free(struct grant_table *t);
/* A reload: the separator. Ask grant_table_allows for each session afterwards. */
void grant_table_config(struct grant_table *t, const struct config *c);
int grant_table_put(struct grant_table *t, struct grant *g) SL_MUST; /* takes a reference on OK */
void grant_table_remove(struct grant_table *t, const char *id);
int grant_table_revoke(struct grant_table *t, const struct revocation *r) SL_MUST; /* copied */
/* All items, also after one failed; the first error. A revocation that cannot be remembered shuts
 * the table: from then on every login is refused and no session is allowed. */
int grant_table_apply(struct grant_table *t, const struct change *c) SL_MUST;
/* A revocation of that kind, issuer, value and client bars nothing any more. */
void grant_table_forget(struct grant_table *t, const struct revocation *r);
/* Some of what it holds, from place *at on, so that a large table can be gone through in pieces: at
 * most `buckets` places, with about one grant and one revocation each. True when it came to the
 * end, and *at is 0 again. What is put meanwhile may be left out. The table must not change
 * meanwhile. */
bool grant_table_part(const struct grant_table *t, size_t *at, size_t buckets,
                      void (*grant)(void *arg, struct grant *g),
                      void (*revocation)(void *arg, const struct revocation *r), void *arg);
size_t grant_table_grants(const struct grant_table *t);
size_t grant_table_revocations(const struct grant_table *t);
/* The grant of this id, also when it is barred; NULL. Valid until the next change. */
struct grant *grant_table_find(const struct grant_table *t, const char *id);
/* Is an equal or wider revocation held already? */
bool grant_table_knows(const struct grant_table *t, const struct revocation *r);
/* Is there a revocation of this transfer, agreement, asset or participant made at `since` or later?
 */
bool grant_table_named(const struct grant_table *t, enum revoke_kind kind, const char *value,
                       int64_t since);
/* A grant of the configuration that was revoked: it stays, but nobody gets it. */
bool grant_table_barred(const struct grant_table *t, const struct grant *g);
/* Unordered; the table must not change meanwhile. */
void grant_table_each_grant(const struct grant_table *t, void (*fn)(void *arg, struct grant *g),
                            void *arg);
void grant_table_each_revocation(const struct grant_table *t,
                                 void (*fn)(void *arg, const struct revocation *r), void *arg);

/* How a grant is used: what one worker, or all of them, can tell. */
struct grant_usage {
    unsigned sessions;
    int64_t last_use_s; /* a client's last request, epoch s; 0: none since the start */
};
/* Somebody used it; forgotten with the grant. */
void grant_table_used(struct grant_table *t, const char *id, int64_t at_s);
int64_t grant_table_last_use(const struct grant_table *t, const char *id);

/* What a grant is worth at this moment. */
enum grant_state { GRANT_ACTIVE, GRANT_NOT_YET, GRANT_EXPIRED, GRANT_BARRED };
enum grant_state grant_table_state(const struct grant_table *t, const struct grant *g,
                                   int64_t now_s);
/* "active", "not yet", "expired", "barred". */
const char *grant_state_name(enum grant_state s);

/* The grants of one session, at most GRANT_SET_MAX; holds references until grant_set_clear. */
#define GRANT_SET_MAX 32
struct grant_set {
    struct grant *at[GRANT_SET_MAX];
    unsigned count;
    char separator[GRANT_SEPARATOR_MAX]; /* "": Kafka's own PREFIXED meaning */
};
void grant_set_clear(struct grant_set *s);

enum login_verdict {
    LOGIN_OK,
    LOGIN_REVOKED,   /* the token, or what it names, is barred */
    LOGIN_NO_GRANT,  /* valid, but nothing is granted to it */
    LOGIN_EXPIRED,   /* the token, or what it is granted, has ended */
    LOGIN_NOT_YET,   /* what it is granted has not begun */
    LOGIN_AMBIGUOUS, /* no transfer named, and the principal alone does not say which grant */
    LOGIN_RESOURCES, /* out of memory: retriable */
};
const char *login_verdict_name(enum login_verdict v);

/* Decision 6: a token that names a transfer gets that grant alone (from the table, else from its
 * own claims). One that a grant binds by its jti gets that grant alone; two grants that bind it, or
 * a transfer that it names and another that binds it, refuse it. One that is neither gets the
 * rights that stand in its own claims; without such claims the union of its principal's grants
 * where the issuer's subjects are not shared, and where they are the one grant that the
 * configuration binds to the principal, if it binds just one (an ended one counts) and the API
 * none. A grant that binds tokens is not reached by its principal. On LOGIN_OK out holds
 * references; else it is empty. */
enum login_verdict grant_table_login(struct grant_table *t, const struct identity *id,
                                     int64_t now_s, struct grant_set *out) SL_MUST;
/* The grant that this token names, or that binds it, in force or not, where its principal fits;
 * NULL. To tell what a refused token was for. */
const struct grant *grant_table_meant(const struct grant_table *t, const struct identity *id);
/* May a session with this identity and these grants go on? False after a revocation that hits it,
 * the end of one of its grants, a replacement that narrowed one, a separator that now narrows. Does
 * not look at the clock (see grant_set_expires). */
bool grant_table_allows(const struct grant_table *t, const struct identity *id,
                        const struct grant_set *s);
/* Is this very token barred for good, whatever is granted from now on? */
bool grant_table_bars(const struct grant_table *t, const struct identity *id);

/* Does this revocation, new now, end a session with this identity and these grants? */
bool revocation_hits(const struct revocation *r, const struct identity *id,
                     const struct grant_set *grants);
/* Earliest end of token and grants, epoch s. */
int64_t grant_set_expires(const struct grant_set *s, const struct identity *id);
/* Equal participant, topics, prefix and operations: what a re-authentication must keep. */
bool grant_set_same_rights(const struct grant_set *a, const struct grant_set *b);

/* Questions that policy asks; text is not NUL-terminated. ops: all the given bits in ONE grant;
 * 0 asks for DESCRIBE, which OP_READ and OP_WRITE imply. */
bool grant_topic(const struct grant_set *s, const void *name, size_t n, unsigned ops);
/* The group or transactional id lies under a prefix of a grant with any of the ops. An empty prefix
 * grants no group. With a separator: the prefix itself, or prefix, separator, anything. */
bool grant_group(const struct grant_set *s, const void *id, size_t n, unsigned any_ops);
/* Any grant has this operation. */
bool grant_any(const struct grant_set *s, unsigned op);
/* Every topic that may be described once, sorted; fn may stop by returning false. */
void grant_topics(const struct grant_set *s, bool (*fn)(void *arg, const char *name), void *arg);
/* Kafka's bit field of authorized operations (bits by AclOperation code: READ 3, WRITE 4, CREATE 5,
 * DELETE 6, ALTER 7, DESCRIBE 8, CLUSTER_ACTION 9, DESCRIBE_CONFIGS 10, ALTER_CONFIGS 11). */
int32_t grant_topic_ops(const struct grant_set *s, const void *name, size_t n);
int32_t grant_group_ops(const struct grant_set *s, const void *id, size_t n);

#endif
