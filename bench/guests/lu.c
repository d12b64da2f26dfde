/* LU decomposition with partial pivoting and a solve, double precision. `lu SIZE ROUNDS`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static double uniform(void)
{
    static unsigned long long state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53 - 0.5;
}

static void decompose(double *a, int *pivot, int n)
{
    for (int k = 0; k < n; k++) {
        int best = k;
        for (int i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[best * n + k]))
                best = i;
        pivot[k] = best;
        if (best != k)
            for (int j = 0; j < n; j++) {
                double held = a[k * n + j];
                a[k * n + j] = a[best * n + j];
                a[best * n + j] = held;
            }
        for (int i = k + 1; i < n; i++) {
            double factor = a[i * n + k] /= a[k * n + k];
            for (int j = k + 1; j < n; j++)
                a[i * n + j] -= factor * a[k * n + j];
        }
    }
}

static void solve(const double *a, const int *pivot, double *b, int n)
{
    for (int k = 0; k < n; k++) {
        double held = b[k];
        b[k] = b[pivot[k]];
        b[pivot[k]] = held;
    }
    for (int i = 1; i < n; i++)
        for (int j = 0; j < i; j++)
            b[i] -= a[i * n + j] * b[j];
    for (int i = n - 1; i >= 0; i--) {
        for (int j = i + 1; j < n; j++)
            b[i] -= a[i * n + j] * b[j];
        b[i] /= a[i * n + i];
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int n = atoi(argv[1]), rounds = atoi(argv[2]);
    double *a = malloc(sizeof *a * (size_t)n * (size_t)n), *b = malloc(sizeof *b * (size_t)n);
    int *pivot = malloc(sizeof *pivot * (size_t)n);
    if (!a || !b || !pivot)
        return 1;
    double sum = 0;
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < n * n; i++)
            a[i] = uniform();
        for (int i = 0; i < n; i++)
            b[i] = uniform();
        decompose(a, pivot, n);
        solve(a, pivot, b, n);
        for (int i = 0; i < n; i++)
            sum += b[i];
    }
    printf("lu %.17g\n", sum);
    return 0;
}
