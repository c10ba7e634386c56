/* note.c: see note.h. */
#include "rules/note.h"

uint32_t note_rule(const struct note *note)
{
    return note->mark.rule != 0 ? note->mark.rule : note->mark.leaving;
}
