/* A finite impulse response filter, single precision, and its energy in double. `fir TAPS ROUNDS`. */
#include <stdio.h>
#include <stdlib.h>

enum { LENGTH = 8192, MAX_TAPS = 256 };
static float in[LENGTH + MAX_TAPS], out[LENGTH], taps[MAX_TAPS];

static void filter(int count)
{
    for (int i = 0; i < LENGTH; i++) {
        float sum = 0;
        for (int k = 0; k < count; k++)
            sum += in[i + k] * taps[k];
        out[i] = sum;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int count = atoi(argv[1]), rounds = atoi(argv[2]);
    if (count < 1 || count > MAX_TAPS)
        return 2;
    unsigned state = 12345;
    for (int i = 0; i < LENGTH + MAX_TAPS; i++) {
        state = state * 1664525u + 1013904223u;
        in[i] = (float)(int)(state >> 8) / (float)(1 << 23) - 1.0f;
    }
    for (int k = 0; k < count; k++)
        taps[k] = (1.0f - 2.0f * (float)(k & 1)) / (float)(k + 1);
    double energy = 0;
    for (int round = 0; round < rounds; round++) {
        filter(count);
        for (int i = 0; i < LENGTH; i++)
            energy += (double)out[i] * out[i];
        in[round % LENGTH] = out[(round * 7) % LENGTH] * 0.5f;
    }
    printf("fir %.17g\n", energy);
    return 0;
}
