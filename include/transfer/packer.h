/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_PACKER_H
#define TRANSFER_PACKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Compression (LZ4 blocks) that is used chunk by chunk, only as long as it makes sending faster: packing and sending the rest must take less time than sending all.
 * What packing costs and how much is left is measured on the chunks themselves; while it does not pay, a small part of every 32nd is tried.  For one thread.
 */
struct packer;

#define PACKER_MIN 8192u                /* bytes: smaller chunks go as they are */
#define PACKER_MAX (1u << 20)

int packer_new(struct packer **ret, struct error *err);
void packer_free(struct packer *p);
/* link: microseconds that a byte takes on the way (wire_cost).  0: it goes as it is; else *ret are so many packed bytes, until the next call. */
size_t packer_pack(struct packer *p, const void *data, size_t len, double link, const uint8_t **ret);
/* The rule, all in microseconds per byte of data, but for the ratio. */
bool packer_pays(double cost, double ratio, double link);

#endif
