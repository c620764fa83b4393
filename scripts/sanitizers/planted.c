// Faults that the sanitizers must find, one per argument. A check that finds nothing says something only where these are
// found (scripts/sanitize.sh).
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int shared;

static void * add(void * unused) {
    for (int i = 0; i < 100000; i++) shared++;
    return unused;
}

int main(int argc, char ** argv) {
    const char *   fault = argc > 1 ? argv[1] : "";
    volatile int   n     = argc + 62;  // 64, hidden from the compiler
    unsigned char * heap = malloc((size_t) n);
    if (heap == NULL) return 2;
    memset(heap, 1, (size_t) n);
    if (strcmp(fault, "address") == 0) n = heap[n];
    if (strcmp(fault, "undefined") == 0) n = 1 << n;
    if (strcmp(fault, "leak") == 0) {
        heap = NULL;
        n    = 0;
    }
    if (strcmp(fault, "thread") == 0) {
        pthread_t other;
        if (pthread_create(&other, NULL, add, NULL) != 0) return 2;
        add(NULL);
        pthread_join(other, NULL);
    }
    printf("%d %d\n", n, shared);
    free(heap);
    return 0;
}
