/* Reads and writes at random places of a large array. `random MIB MILLIONS`. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t n = ((size_t)atoi(argv[1]) << 20) / sizeof(uint64_t);
    uint64_t *cells = malloc(n * sizeof *cells), state = 88172645463325252u, sum = 0;
    if (!cells || !n || n & (n - 1))
        return 1;
    for (size_t i = 0; i < n; i++)
        cells[i] = i;
    for (long left = atol(argv[2]) * 1000000; left > 0; left--) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        uint64_t *cell = &cells[state & (n - 1)];
        sum += *cell;
        *cell ^= state;
    }
    printf("random %016llx\n", (unsigned long long)sum);
    return 0;
}
