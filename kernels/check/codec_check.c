// Checks every implementation of the codec that this build holds. Links the kernels and libm, nothing else:
//
//   cc -std=gnu11 -O2 -ffp-contract=off kernels/check/codec_check.c kernels/common/*.c -lm -o codec_check
//
//   codec_check [GOLDEN]        all checks; GOLDEN is tests/data/codec_golden.txt
//   codec_check --quick [..]    fewer vectors, for emulators
//   codec_check --digest        FNV-1a of 20,000 encoded blocks per type and implementation
//   codec_check --golden        prints the golden file
//   codec_check --bench         nanoseconds per 128 values, after checking the output
//
// Exit status 1 when a check fails. Unsupported implementations are named as skipped.

#include "bench.h"
#include "impl_checks.h"
#include "quality.h"

#define DIGEST_VECTORS 20000
#define GOLDEN_SEEDS   3

// FNV-1a, 64 bit.
static uint64_t hash_bytes(uint64_t hash, const uint8_t * bytes, int count) {
    for (int i = 0; i < count; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static void print_digests(void) {
    for (int i = 0; i < tq_codec_impl_count(); i++) {
        const tq_codec_impl * impl = tq_codec_impl_at(i);
        if (!tq_codec_impl_supported(impl)) {
            printf("%-12s skipped: not supported by this CPU\n", impl->name);
            continue;
        }
        for (int t = 0; t < tq_type_count(); t++) {
            const tq_type_info * type = tq_type_at(t);
            uint64_t             hash = UINT64_C(0xcbf29ce484222325);
            rng                  r    = rng_new(2024);
            for (int v = 0; v < DIGEST_VECTORS; v++) {
                float   x[TQ_MAX_BLOCK];
                uint8_t block[TQ_MAX_BLOCK];
                fill_gauss(x, type->block, &r);
                impl->ops[t].quantize_row(x, block, type->block);
                hash = hash_bytes(hash, block, type->bytes);
            }
            printf("%-12s %-10s %016llx\n", impl->name, type->name, (unsigned long long) hash);
        }
    }
}

static void golden_row(const tq_codec_ops * ops, const tq_type_info * type, int seed, char * hex) {
    float   x[TQ_MAX_BLOCK];
    uint8_t block[TQ_MAX_BLOCK];
    rng     r = rng_new((uint64_t) seed);
    for (int i = 0; i < type->block; i++) x[i] = rng_uniform(&r);
    ops->quantize_row(x, block, type->block);
    for (int i = 0; i < type->bytes; i++) sprintf(hex + 2 * i, "%02x", block[i]);
}

static void print_golden(void) {
    printf("# One encoded block per line: type, seed, hex of the bytes in memory order (little endian).\n"
           "# Element i is (int32(s_i >> 40) - 2^23) * 2^-23, exact in f32, where s_0, s_1, ... are the outputs\n"
           "# of splitmix64 with the seed as its state. The values are encoded as they are, without a rotation.\n");
    for (int t = 0; t < tq_type_count(); t++) {
        for (int seed = 1; seed <= GOLDEN_SEEDS; seed++) {
            char hex[2 * TQ_MAX_BLOCK + 1];
            golden_row(&tq_codec_impl_at(0)->ops[t], tq_type_at(t), seed, hex);
            printf("%s %d %s\n", tq_type_at(t)->name, seed, hex);
        }
    }
}

static int type_index(const char * name) {
    for (int t = 0; t < tq_type_count(); t++) {
        if (strcmp(tq_type_at(t)->name, name) == 0) return t;
    }
    return -1;
}

static void check_golden(const char * path) {
    FILE * file = fopen(path, "r");
    if (file == NULL) {
        report(0, "golden", "file_opens", "%s", path);
        return;
    }
    finding f = { { 0 }, 0 };
    char    text[1024];
    while (fgets(text, sizeof text, file) != NULL) {
        char name[32], want[512], got[2 * TQ_MAX_BLOCK + 1];
        int  seed;
        if (text[0] == '#' || sscanf(text, "%31s %d %511s", name, &seed, want) != 3) continue;
        const int t = type_index(name);
        if (t < 0) {
            NOTE(&f, "unknown type %s", name);
            continue;
        }
        for (int i = 0; i < tq_codec_impl_count(); i++) {
            const tq_codec_impl * impl = tq_codec_impl_at(i);
            if (!tq_codec_impl_supported(impl)) continue;
            golden_row(&impl->ops[t], tq_type_at(t), seed, got);
            if (strcmp(want, got) != 0) NOTE(&f, "%s seed %d by %s", name, seed, impl->name);
            f.cases++;
        }
    }
    fclose(file);
    if (f.cases < GOLDEN_SEEDS * tq_type_count()) NOTE(&f, "too few rows");
    conclude(&f, "golden", "bytes_unchanged");
}

int main(int argc, char ** argv) {
    const char * golden  = NULL;
    int          vectors = 20000;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--digest") == 0) return print_digests(), 0;
        if (strcmp(argv[i], "--golden") == 0) return print_golden(), 0;
        if (strcmp(argv[i], "--bench") == 0) return bench();
        if (strcmp(argv[i], "--quick") == 0) vectors = 4000;
        else if (argv[i][0] == '-') return fprintf(stderr, "unknown option %s\n", argv[i]), 2;
        else golden = argv[i];
    }
    check_registry();
    check_half();
    check_packing();
    for (int i = 0; i < tq_codec_impl_count(); i++) {
        check_impl(tq_codec_impl_at(i));
    }
    check_rotation(tq_codec_active());
    check_distortion(tq_codec_active(), vectors);
    if (golden != NULL) {
        check_golden(golden);
    } else {
        skip("golden", "bytes_unchanged", "no file given");
    }
    printf("%d passed, %d failed, %d skipped\n", counts.passed, counts.failed, counts.skipped);
    return counts.failed != 0;
}
