/* The C library's mathematical functions, double and some single precision. `libm ROUNDS`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    int rounds = atoi(argv[1]);
    double sum = 0, x = 0.001;
    float small = 0;
    for (int i = 0; i < rounds; i++) {
        double a = sin(x) + cos(x * 1.7), b = exp(-x) + log1p(x), c = pow(x + 1.0, 0.37);
        double d = atan2(a, b) + tanh(x - 3.0) + cbrt(x) + hypot(a, c);
        small += sinf((float)x) * expf((float)-x) + logf((float)x + 1.0f);
        sum += a * b - c + d + floor(x * 3.5) + sqrt(x);
        x += 0.00137;
        if (x > 40)
            x -= 39.9;
    }
    printf("libm %.17g %.9g\n", sum, (double)small);
    return 0;
}
