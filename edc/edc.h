/* The ACL listener (edc/acl.h), and the signaling listener: what connectors and authorization
 * servers ask of sluice. A data plane of an Eclipse Dataspace Connector, an issuer of tokens, and
 * the other ways in which a right can come and go. Each part has a file of its own with its table
 * of routes; here they are tied.
 *
 * Control thread. Knows the gate only through struct edc_parts, which run fills. */
#ifndef EDC_EDC_H
#define EDC_EDC_H

#include "auth/jwks.h"
#include "config/config.h"
#include "control/change.h"

#define EDC_BODY_MAX ((size_t)256 * 1024) /* a start message with its policy is some 10 KiB */

struct edc;
struct loop;

struct edc_parts {
    void *arg;
    struct changes changes;
    /* The keys in force; a new reference; NULL: none yet. */
    struct keyring *(*keys)(void *arg);
    /* A token names a key of this issuer that isn't known (jwks_fetcher_unknown_kid). */
    void (*unknown_kid)(void *arg, const char *issuer);
};

/* NULL with err. Without signaling.listen it does nothing. */
struct edc *edc_new(struct loop *l, const struct config *c, const struct edc_parts *p, char *err,
                    size_t err_bytes) SL_MUST;
/* A reload. On error, which is in the log, nothing has changed. */
int edc_config(struct edc *e, const struct config *c) SL_MUST;
/* Its metrics; none without signaling.listen. */
void edc_metrics(const struct edc *e,
                 void (*line)(void *arg, const char *name, const char *labels, const char *type,
                              const char *help, double value),
                 void *arg);
/* Before the store is closed. */
void edc_free(struct edc *e);

#endif
