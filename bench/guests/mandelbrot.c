/* Escape times of the Mandelbrot set, in double and again in single precision.
 * `mandelbrot SIZE LIMIT`. */
#include <stdio.h>
#include <stdlib.h>

#define ESCAPE(NAME, REAL)                                                     \
    static int NAME(REAL cx, REAL cy, int limit)                               \
    {                                                                          \
        REAL x = 0, y = 0;                                                     \
        int count = 0;                                                         \
        while (count < limit && x * x + y * y <= 4) {                          \
            REAL next = x * x - y * y + cx;                                    \
            y = 2 * x * y + cy;                                                \
            x = next;                                                          \
            count++;                                                           \
        }                                                                      \
        return count;                                                          \
    }

ESCAPE(escape_double, double)
ESCAPE(escape_float, float)

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int size = atoi(argv[1]), limit = atoi(argv[2]);
    unsigned long doubles = 0, floats = 0;
    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++) {
            double x = 3.0 * j / size - 2.25, y = 2.5 * i / size - 1.25;
            doubles += (unsigned long)escape_double(x, y, limit) * (unsigned long)(1 + (i ^ j) % 7);
            floats += (unsigned long)escape_float((float)x, (float)y, limit);
        }
    printf("mandelbrot %lu %lu\n", doubles, floats);
    return 0;
}
