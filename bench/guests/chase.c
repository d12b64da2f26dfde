/* Follow pointers round one cycle through all cache lines of an array, in random order.
 * `chase MIB MILLIONS`. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINE = 64 };
struct line { struct line *next; uint64_t mark; char rest[LINE - 16]; };

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t n = ((size_t)atoi(argv[1]) << 20) / LINE;
    struct line *lines = malloc(n * sizeof *lines);
    uint32_t *order = malloc(n * sizeof *order);
    if (!lines || !order || !n)
        return 1;
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    uint64_t state = 0x9E3779B97F4A7C15u, sum = 0;
    for (size_t i = n - 1; i > 0; i--) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        size_t other = state % (i + 1);
        uint32_t held = order[i];
        order[i] = order[other];
        order[other] = held;
    }
    for (size_t i = 0; i < n; i++) {
        lines[order[i]].next = &lines[order[(i + 1) % n]];
        lines[order[i]].mark = i;
    }
    struct line *at = lines;
    for (long left = atol(argv[2]) * 1000000; left > 0; left--) {
        sum += at->mark;
        at = at->next;
    }
    printf("chase %016llx\n", (unsigned long long)(sum ^ at->mark));
    return 0;
}
