/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/*
 * FNV-1a, for tables and for numbers that only have to lie scattered: who chooses the texts can make them meet.  h: TEXT_HASH, or what came of the text before.
 */
#define TEXT_HASH 0xcbf29ce484222325u
uint64_t text_hash(uint64_t h, const char *s);

/* 0, or -EINVAL when there is none (NULL) or it does not fit. */
int text_copy(char *out, size_t size, const char *s);

/*
 * Makes a text fit for one line of anybody's: control characters become spaces; what is not UTF-8 (a file's name may be anything, and a text that was cut may
 * end within a character), and what YAML does not take as it is (C1 controls, U+FEFF, U+FFFE, U+FFFF), becomes '?', byte by byte.  In place, of the same length.
 */
void text_clean(char *s);

#endif
