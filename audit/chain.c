#include "audit/chain.h"

void chain_init(struct chain *c)
{
    *c = (struct chain){0};
}

size_t chain_line(struct chain *c, char *text, size_t n, size_t room)
{
    (void)text;
    (void)room;
    c->lines++;
    return n;
}
