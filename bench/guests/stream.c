/* Copy, scale, add and triad over arrays larger than caches, and memcpy and memset beside them.
 * `stream MIB ROUNDS`, MIB for each of three arrays. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t bytes = (size_t)atoi(argv[1]) << 20, n = bytes / sizeof(double);
    double *a = malloc(bytes), *b = malloc(bytes), *c = malloc(bytes), sum = 0;
    if (!a || !b || !c || !n)
        return 1;
    for (size_t i = 0; i < n; i++) {
        a[i] = (double)(i % 1000);
        b[i] = 2.0;
        c[i] = 0.5;
    }
    for (int round = atoi(argv[2]); round > 0; round--) {
        for (size_t i = 0; i < n; i++)
            c[i] = a[i];
        for (size_t i = 0; i < n; i++)
            b[i] = 0.75 * c[i];
        for (size_t i = 0; i < n; i++)
            c[i] = a[i] + b[i];
        for (size_t i = 0; i < n; i++)
            a[i] = b[i] + 0.25 * c[i];
        memcpy(c, a, bytes);
        memset(b, round & 1, bytes);
        sum += a[n / 3] + c[n - 1] + b[n / 2];
    }
    printf("stream %.17g\n", sum);
    return 0;
}
