// Memory whose last byte is followed by a page that nobody may touch: a read beyond it ends the program, whatever
// instruction makes it. AddressSanitizer sees only what the compiler wrote as an access, not tile loads and masked loads.
#ifndef TQ_CHECK_GUARDED_H
#define TQ_CHECK_GUARDED_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    char * at;  // the first of the bytes asked for
    void * map;
    size_t mapped;
} guarded;

// Zeroed. As the end lies on a page, the beginning is aligned as the size is: to 64 bytes if that is a multiple of 64.
static guarded guarded_new(size_t bytes) {
    const size_t page = (size_t) sysconf(_SC_PAGESIZE);
    const size_t used = (bytes + page - 1) / page * page;
    guarded      g;
    g.mapped = used + page;
    g.map    = mmap(NULL, g.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.map == MAP_FAILED || mprotect((char *) g.map + used, page, PROT_NONE) != 0) {
        fprintf(stderr, "no %zu bytes for a check\n", bytes);
        exit(2);
    }
    g.at = (char *) g.map + used - bytes;
    return g;
}

static void guarded_free(guarded * g) {
    munmap(g->map, g->mapped);
}

#endif
