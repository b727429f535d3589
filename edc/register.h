/* Registering at the control plane: at start, since a connector that was told "gone" or found us
 * away takes long to come back by itself, and again whenever the registration is lost or another.
 * What is told again goes for a moment, and a transfer that wants it just then is ended ("No
 * dataplane found"); so a control plane that knows us as we are from before is told nothing.
 *
 *   legacy  GET {url}/v1/dataplanes/{id}, POST {url}/v1/dataplanes where that is not us, then GET
 *           after REGISTER_FIRST_MS, twice that and so on, at last every REGISTER_CHECK_MS
 *   DPS     PUT {url}/dataplanes, repeated every REGISTER_REPEAT_MS (it replaces itself)
 *
 * Failures are tried again with back-off. Grants in force do not care. A graceful end leaves the
 * registration as it is: a connector that has lost it could end no transfer any more.
 *
 * Owned by the signaling part, control thread. One call at a time. */
#ifndef EDC_REGISTER_H
#define EDC_REGISTER_H

#include <jansson.h>

#include "config/config.h"

#define REGISTER_CHECK_MS   15000
#define REGISTER_REPEAT_MS  60000
#define REGISTER_FIRST_MS   500
#define REGISTER_LONGEST_MS 30000
#define REGISTER_ANSWER_MAX ((size_t)64 * 1024)

struct loop;
struct registrar;

/* Without signaling.control_plane it does nothing. NULL when memory is short. */
struct registrar *registrar_new(struct loop *l, const struct config *c) SL_MUST;
/* A reload: registers anew when something about it has changed; a connector that is told again sees
 * its data plane go for a moment. */
void registrar_config(struct registrar *r, const struct config *c);
void registrar_free(struct registrar *r);
/* Does the control plane know us, as far as we know? */
bool registrar_done(const struct registrar *r);

/* What is registered, for tests. A new reference; NULL when memory is short. */
json_t *registrar_message(const struct config *c) SL_MUST;
/* Does what the control plane answers describe us as we are? */
bool registrar_matches(const struct config *c, const char *body, size_t n);

#endif
