#include "auth/identity.h"

#include <string.h>

#include "auth/text.h"

void identity_clear(struct identity *id)
{
    unsigned i;

    for (i = 0; i < id->ntopics; i++)
        sl_free(id->topics[i]);
    memset(id, 0, sizeof(*id));
}

int identity_copy(struct identity *dst, const struct identity *src)
{
    unsigned i;

    *dst = *src;
    memset(dst->topics, 0, sizeof(dst->topics));
    dst->ntopics = 0;
    for (i = 0; i < src->ntopics; i++) {
        dst->topics[i] = text_dup(src->topics[i]);
        if (!dst->topics[i]) {
            identity_clear(dst);
            return ERR_NOMEM;
        }
        dst->ntopics++;
    }
    return OK;
}
