/* What the rules of login (auth/grant_login.c) see of a table. Private to auth; see auth/grant.h.
 */
#ifndef AUTH_GRANT_TABLE_H
#define AUTH_GRANT_TABLE_H

#include "auth/grant.h"

/* A revocation could not be remembered: nobody gets in. */
bool table_shut(const struct grant_table *t);
/* "": none. */
const char *table_separator(const struct grant_table *t);
/* Grants of just this principal, as written in them, one after another: *at is NULL at first. NULL
 * at the end. The table must not change meanwhile; likewise below. */
struct grant *table_of_principal(const struct grant_table *t, const char *issuer,
                                 const char *subject, const char *client, const void **at);
/* Grants that bind this token. */
struct grant *table_of_token(const struct grant_table *t, const char *issuer, const char *jti,
                             const void **at);
/* NULL: no such revocation. */
const struct revocation *table_bar(const struct grant_table *t, enum revoke_kind kind,
                                   const char *issuer, const char *value, const char *client);

#endif
