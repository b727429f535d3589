/* The checked configuration: plain data that the rest of sluice reads.
 *
 * Made by config_load from a YAML file and the one table of options (config/options.c), immutable
 * afterwards, counted (a reload makes a new one; sessions and workers let the old one go when they
 * have taken what they need). Any thread may read; references are counted with atomics. All
 * strings are NUL-terminated and live as long as the configuration. Paths are absolute. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum op {
    OP_READ = 1,             /* topic READ and DESCRIBE, group READ and DESCRIBE by prefix */
    OP_WRITE = 2,            /* topic WRITE and DESCRIBE, transactional ids by prefix */
    OP_MANAGE = 4,           /* group DELETE and DESCRIBE by prefix */
    OP_DESCRIBE_CONFIGS = 8, /* topic DESCRIBE_CONFIGS */
};

enum jwt_alg { ALG_RS256 = 1, ALG_PS256 = 2, ALG_ES256 = 4, ALG_ES384 = 8, ALG_EDDSA = 16 };

/* Issuers that a configuration may name; audiences of an issuer, topics of a grant and the like
 * are bounded in options.c, next to their help texts. */
#define CONFIG_ISSUERS_MAX 16

struct strings {
    const char **at;
    size_t count;
};

/* Which claim holds what; NULL: none. A name may be a path with dots into nested objects. */
struct claim_names {
    const char *transfer, *participant, *agreement, *asset, *topics, *group_prefix, *operations;
    const char *client; /* default: client_id, then azp */
};

struct issuer_config {
    const char *issuer;
    struct strings audience; /* any of them in aud is enough */
    const char *jwks_url;    /* one of these three, but with signing_keys */
    const char *jwks_file;
    bool discovery;
    struct strings signing_keys; /* PEM texts, secret; any: sluice is the issuer, the first signs */
    unsigned token_life_s;       /* of a token that sluice signs */
    unsigned algorithms;         /* enum jwt_alg bits */
    unsigned skew_s;             /* <= 30 */
    unsigned refresh_s;          /* how often the keys are fetched anew */
    unsigned max_token_s;        /* a token that is to live longer is refused; 0: any */
    unsigned max_age_s;   /* after so long without a fetch that worked, the set fails closed */
    bool shared_subjects; /* true: a subject's grants are not added up */
    bool second_opinion;  /* libjwt may veto */
    struct claim_names claims;
    struct {
        const char *url; /* NULL: tokens are not asked about */
        const char *client_id, *client_secret;
        unsigned interval_s;
        bool close_on_outage; /* live sessions that cannot be confirmed */
    } introspection;
    struct {
        struct strings audience; /* none: its events are refused; "*": any */
        unsigned max_age_s;
    } events;
};

struct endpoint {
    const char *host;
    uint16_t port;
};

/* What a broker advertises -> where it is reached from here. */
struct address_mapping {
    struct endpoint from, to;
};

enum sasl_mechanism {
    SASL_NONE,
    SASL_PLAIN,
    SASL_SCRAM_SHA_256,
    SASL_SCRAM_SHA_512,
    SASL_OAUTHBEARER,
};

struct upstream_config {
    struct endpoint *brokers; /* where to ask first */
    size_t nbrokers;
    struct address_mapping *address_map;
    size_t naddress_map;
    bool tls;
    const char *ca, *certificate, *key; /* PEM files or NULL */
    const char *server_name;            /* NULL: the broker's host */
    bool verify;
    enum sasl_mechanism mechanism;
    const char *username, *password; /* the password file's content */
    const char *token_url, *client_id, *client_secret, *scope;
    unsigned connect_timeout_ms, request_timeout_ms;
    unsigned connects_per_s; /* new connections a second, worker and broker */
    unsigned metadata_max_age_ms;
};

/* How a control plane speaks to its data planes. */
enum control_plane_protocol { CONTROL_PLANE_LEGACY, CONTROL_PLANE_DPS };

/* How an EDR is written. */
enum edr_form { EDR_CONCEPT, EDR_KAFKA_EXTENSION, EDR_TRACTUSX };

struct grant_config {
    const char *id;
    const char *issuer, *subject, *client; /* principal; NULL: any, but not all three */
    const char *participant, *agreement, *asset;
    struct strings tokens; /* jti of the issuer: these tokens get this grant alone */
    struct strings topics;
    const char *group_prefix;    /* "" when no group is granted */
    unsigned operations;         /* enum op bits */
    int64_t not_before, expires; /* epoch s; 0: none */
};

/* Who may change ACLs at the ACL listener. */
struct acl_user_config {
    const char *name, *password; /* the password file's content */
};
#define CONFIG_ACL_USERS_MAX 16

/* Every bound that an operator may move, with its default and range in options.c. */
struct limits {
    unsigned connections, connections_per_address, connections_per_principal;
    unsigned frame_preauth_bytes;  /* 64 KiB */
    unsigned frame_bytes;          /* 1 MiB: any request but Produce */
    unsigned frame_produce_bytes;  /* 16 MiB */
    unsigned response_bytes;       /* an upstream answer that is held whole */
    unsigned in_flight;            /* requests of a session; beyond it we stop reading */
    unsigned session_buffer_bytes; /* held for a session in all, Fetch streams excepted */
    unsigned worker_buffer_bytes;  /* held by a worker; beyond it Produce reading stops */
    unsigned tls_timeout_ms, auth_timeout_ms, frame_timeout_ms; /* 5 s, 10 s, 30 s */
    unsigned idle_timeout_ms;                                   /* a session without a request */
    unsigned drain_timeout_ms;       /* after expiry or SIGTERM: those sent may finish (5 s) */
    unsigned denial_pace_ms;         /* repeated denials are held back up to so long */
    unsigned session_max_s;          /* longest lifetime told to a client; 0: the token's */
    unsigned reauth_min_interval_ms; /* 1 s */
    unsigned grants, revocations;    /* entries of the store */
};

/* Where tokens for transfers come from. */
enum token_source { TOKENS_OWN, TOKENS_CLIENT_CREDENTIALS, TOKENS_REGISTRATION };

/* A client secret of an authorization server, by the name that data addresses use for it. */
struct token_secret_config {
    const char *name;
    const char *secret;
    const char *token_url; /* the only place that it is sent to */
};

/* Who may use the token endpoint and the revocation endpoint of the signaling listener. */
struct token_client_config {
    const char *id;
    const char *secret;
};

/* The keys by which a consumer without a resolvable DID proves itself. */
struct token_participant_config {
    const char *id;
    const char *jwks_file;
};

struct tokens_config {
    int source;         /* enum token_source */
    const char *issuer; /* of the authorization server's tokens; NULL with TOKENS_OWN */
    const char *token_url, *revoke_url, *registration_url;
    const char *registration_token; /* the initial access token; secret; NULL: none */
    const char *scope;
    struct token_secret_config *secrets;
    size_t nsecrets;
    struct token_client_config *clients;
    size_t nclients;
    const char *refresh_url;      /* what consumers are told; NULL: no refresh */
    const char *refresh_audience; /* never NULL beside it */
    unsigned refresh_life_s;
    struct token_participant_config *participants;
    size_t nparticipants;
};

struct config {
    const char *file;
    struct endpoint listen, advertise;
    unsigned workers; /* >= 1 here */
    const char *cluster_id;
    int32_t node_id;
    struct {
        const char *certificate, *key, *client_ca, *ciphers, *ciphersuites;
        int client_certificate; /* 0 none, 1 optional, 2 required */
        int min_version;        /* 12 or 13 */
    } tls;
    struct issuer_config *issuers;
    size_t nissuers;
    struct upstream_config upstream;
    struct grant_config *grants; /* those of the file itself first, then those of grants_dir */
    size_t ngrants, ngrants_own;
    const char *grants_dir;      /* NULL: none */
    uint64_t grants_stamp;       /* of what it held, see config/grants_dir.h */
    const char *group_separator; /* NULL: Kafka's own PREFIXED meaning */
    struct {
        struct endpoint listen;        /* port 0: off */
        const char *certificate, *key; /* NULL: plain, loopback only */
        struct strings tokens;         /* bearer tokens; secret */
    } control;
    struct {
        struct endpoint listen;                    /* port 0: off */
        const char *certificate, *key, *client_ca; /* NULL: plain, loopback only; nobody asked */
        const char *path_secret;                   /* NULL: none */
        const char *url;                           /* as others reach it; NULL: not known */
        struct {
            const char *url;          /* NULL: sluice registers nowhere */
            const char *key;          /* x-api-key; NULL: none */
            const char *id;           /* ours there */
            const char *callback_url; /* NULL: url, or what a message says */
            int protocol;             /* enum control_plane_protocol */
        } control_plane;
        struct strings transfer_types, source_types;
        int edr;             /* enum edr_form */
        unsigned operations; /* enum op bits: what a transfer is granted at most */
        unsigned max_life_s; /* of a transfer's grant; 0: until it is ended */
    } signaling;
    struct {
        struct endpoint listen, advertise;         /* port 0: off */
        const char *certificate, *key, *client_ca; /* NULL: plain, loopback only; nobody asked */
        struct strings client_subjects;            /* as RFC 2253 writes them; none: any */
        struct acl_user_config *users;
        size_t nusers;
        const char *issuer; /* whose subjects the principals are */
    } acl_listener;
    struct tokens_config tokens;
    struct {
        const char *ca;       /* PEM file; NULL: the system's */
        struct strings hosts; /* host or host:port; see config/outgoing.h */
    } outgoing;
    const char *store_path;
    struct {
        const char *file; /* "-": stdout */
        bool stop_on_failure;
    } audit;
    struct limits limits;
    int log_level; /* enum log_level */
    bool log_json;
    bool development;
};

/* Reads, checks, makes. On failure NULL; err holds "file:line: option: what is wrong; what it
 * takes", one line an error, up to err_bytes. */
struct config *config_load(const char *file, char *err, size_t err_bytes) SL_MUST;
/* The same from memory. files false: nothing is opened, so files are neither looked at nor read
 * (secrets stay NULL). name stands for the file in messages; relative paths start at its folder. */
struct config *config_parse(const char *name, const char *text, size_t n, bool files, char *err,
                            size_t err_bytes) SL_MUST;
struct config *config_ref(const struct config *c);
void config_unref(const struct config *c);

/* The same configuration, but for the grants of grants_dir as they stand there now; keeps a
 * reference to what it shares. All files or none: NULL with err as above. */
struct config *config_grants_reload(const struct config *c, char *err, size_t err_bytes) SL_MUST;

/* What can be used but deserves a second look; one line each, as above. */
const struct strings *config_warnings(const struct config *c);
/* The first option that differs and that a reload cannot change, or NULL. */
const char *config_restart_option(const struct config *running, const struct config *loaded);

/* One entry of grants[] that came over the control API as JSON, checked as strictly as one of the
 * file; an id in it must equal the one given. NULL with err on failure; freed by config_grant_free.
 */
struct json_t;
struct grant_config *config_grant_parse(const struct config *c, const char *id,
                                        struct json_t *object, char *err, size_t err_bytes) SL_MUST;
void config_grant_free(struct grant_config *g);

/* `sluice check -c FILE | --reference | --schema`. argv[0] is the command's name. more looks at
 * what config itself cannot judge (keys): false with err, a line without its end. Exit code. */
typedef bool config_more_fn(const struct config *c, char *err, size_t err_bytes);
int config_check_main(int argc, char **argv, config_more_fn *more);

#endif
