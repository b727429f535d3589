/* POST /refresh/token: a consumer exchanges its refresh token for a new access token and a new
 * refresh token, as Tractus-X does it. Its own JWT (edc/proof.h) proves that it is the one that the
 * tokens were made for, by the key of its DID or of tokens.refresh.participants.
 *
 *   1. the form's refresh token and the proof's access token belong together, to a transfer whose
 *      grant is in force, and to the consumer that the proof names; nothing of it is barred
 *   2. the consumer's keys: did:key at once, did:web is fetched, bounded in time and size
 *   3. the proof holds and is none that was seen before; what 1 said is still so
 *   4. the new refresh token replaces the old one durably, then the answer leaves
 *
 * Nobody without a good refresh token makes sluice fetch anything. Control thread. Bounded:
 * REFRESH_ASKS_MAX under way, REFRESH_PROOFS_MAX proofs remembered. */
#ifndef EDC_REFRESH_H
#define EDC_REFRESH_H

#include "control/server.h"
#include "edc/tokens.h"

#define REFRESH_ASKS_MAX   64
#define REFRESH_PROOFS_MAX 8192

struct refresh;

/* As the tokens'. NULL with err. */
struct refresh *refresh_new(const struct tokens_parts *p, const struct config *c, char *err,
                            size_t err_bytes) SL_MUST;
/* A reload: participants' key files are read anew. On error nothing has changed. */
int refresh_config(struct refresh *r, const struct config *c, char *err, size_t err_bytes) SL_MUST;
void refresh_free(struct refresh *r);

/* Their arg is the struct refresh. */
extern const struct route refresh_routes[];
extern const size_t refresh_nroutes;

#endif
