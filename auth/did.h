/* Whose keys prove that a consumer is who it says: those of tokens.refresh.participants, or of its
 * DID. did:key carries its key (Ed25519, P-256, P-384) and needs nobody. did:web is a document on
 * the consumer's own web server, fetched over https from a host of outgoing.hosts (not here:
 * nothing in this file does I/O). Pure functions, any thread. */
#ifndef AUTH_DID_H
#define AUTH_DID_H

#include <stdbool.h>
#include <stddef.h>

#include "auth/jwks.h"
#include "base/err.h"
#include "config/config.h"

#define DID_BYTES_MAX          255
#define DID_DOCUMENT_BYTES_MAX ((size_t)64 * 1024)
#define DID_METHODS_MAX        32 /* verification methods of a document that are looked at */
#define DID_URL_BYTES          1024

/* Could this consumer prove itself here at all? */
bool did_provable(const struct config *c, const char *consumer);
/* Its entry of tokens.refresh.participants, or NULL. */
const struct token_participant_config *did_participant(const struct config *c,
                                                       const char *consumer);

/* The document's URL (did:web method, 3.2), http in development mode for 127.x.y.z.
 * ERR_UNKNOWN: no did:web; ERR_MALFORMED: one that breaks its form. */
int did_web_url(const char *did, bool development, char url[DID_URL_BYTES]) SL_MUST;
/* The key of a did:key, as a set of one that bears kid (NULL: no name). ERR_UNKNOWN: no did:key, or
 * a kind of key that is not taken; ERR_MALFORMED; ERR_NOMEM. */
int did_key_set(const char *did, const char *kid, struct jwks **out) SL_MUST;
/* The keys of a document that go by kid: a verification method's whole id, or its fragment. kid
 * NULL: all of them. They bear kid as given. ERR_MALFORMED: no document of this DID; ERR_UNKNOWN:
 * no key that could be used; ERR_NOMEM. */
int did_document_set(const char *text, size_t n, const char *did, const char *kid,
                     struct jwks **out) SL_MUST;

#endif
