/* Reading JSON-LD from connectors, as far as they use it: a document of one object whose names are
 * bare (under @vocab, or a term of the context), prefixed, or full IRIs, and whose values are
 * texts,
 * {"@value"}, {"@id"}, or lists of one. No context is ever fetched: one that is named by its URL is
 * taken as the connector's own, whose bare names mean what they say.
 *
 * Strict and bounded: JSON by auth/strict_json.h's bounds (one object or a list of one, no
 * duplicates, STRICT_JSON_DEPTH_MAX levels), JSONLD_TERMS_MAX terms, and a property that stands
 * there in two spellings is refused, since two readers could see two things. Faults are told with
 * the place: "sourceDataAddress.endpointProperties[2].name: is no text".
 *
 * A struct jsonld is plain memory of its caller, filled by jsonld_read, let go by jsonld_release.
 * Texts that are handed out live as long as it. Any thread, one at a time. */
#ifndef EDC_JSONLD_H
#define EDC_JSONLD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define JSONLD_TERMS_MAX   32
#define JSONLD_IRI_MAX     512
#define JSONLD_FAULT_BYTES 256

#define JSONLD_EDC         "https://w3id.org/edc/v0.0.1/ns/"
#define JSONLD_DSPACE      "https://w3id.org/dspace/v0.8/" /* EDC up to 0.15 */
#define JSONLD_DSPACE_2025 "https://w3id.org/dspace/2025/1/"
#define JSONLD_TX_AUTH     "https://w3id.org/tractusx/auth/"

struct jsonld_term {
    const char *name, *iri;
};

struct jsonld {
    json_t *root; /* an object */
    const char *vocab;
    bool dspace_2025; /* a context of that generation is named */
    struct jsonld_term terms[JSONLD_TERMS_MAX];
    size_t nterms;
    char fault[JSONLD_FAULT_BYTES]; /* the first; "" none */
};

/* ERR_MALFORMED with j->fault, ERR_NOMEM. Release it in any case. */
int jsonld_read(struct jsonld *j, const char *text, size_t n) SL_MUST;
/* Plain JSON: the same without any meaning of names. */
int jsonld_read_plain(struct jsonld *j, const char *text, size_t n) SL_MUST;
/* Texts of the document are wiped: there may be secrets among them. May be called twice. */
void jsonld_release(struct jsonld *j);

/* A fault at this place, unless there is one already. Returns ERR_MALFORMED. */
int jsonld_fault(struct jsonld *j, const char *place, const char *what);

/* What a name means: its full IRI in out, or itself where nothing says more. Keywords (@id) are
 * themselves. False when it is longer than out. */
bool jsonld_iri(const struct jsonld *j, const char *name, char out[JSONLD_IRI_MAX]) SL_MUST;
/* The part of an IRI behind one of the namespaces above; NULL for any other. */
const char *jsonld_local(const char *iri);

/* The member of object whose name means `local` in one of the namespaces, lists of one taken off;
 * keywords are found by themselves. NULL: none. Two of them are a fault. */
json_t *jsonld_member(struct jsonld *j, json_t *object, const char *place, const char *local);
/* Its text; NULL when it is not there (no fault) or no text (a fault). required: a fault too. */
const char *jsonld_text(struct jsonld *j, json_t *object, const char *place, const char *local,
                        bool required);
/* The text of a value: a string, {"@value"} or {"@id"} with a string. NULL: it is none. */
const char *jsonld_value(json_t *value);
/* Is this object of this type (the part behind the namespace)? A fault if not. */
bool jsonld_type(struct jsonld *j, json_t *object, const char *place, const char *type) SL_MUST;
/* "place.name", or the name alone. Returns out. */
const char *jsonld_place(char out[JSONLD_FAULT_BYTES], const char *place, const char *name);

#endif
