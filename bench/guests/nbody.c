/* Gravity between a sun and four planets, symplectic Euler, double precision. `nbody STEPS`.
 * Units: AU, days, the gravitational constant times the sun's mass; rounded orbits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BODIES = 5 };
struct body { double p[3], v[3], mass; };

static const double SUN = 2.959122082855911e-4;

static struct body bodies[BODIES] = {
    {{0, 0, 0}, {0, 0, 0}, 1.0},
    {{4.84, -1.16, -0.10}, {1.66e-3, 7.69e-3, -6.9e-5}, 9.55e-4},
    {{8.34, 4.12, -0.40}, {-2.77e-3, 4.99e-3, 2.3e-5}, 2.86e-4},
    {{12.89, -15.11, -0.22}, {2.96e-3, 2.38e-3, -2.96e-5}, 4.37e-5},
    {{15.38, -25.92, 0.18}, {2.68e-3, 1.63e-3, -9.51e-5}, 5.15e-5},
};

static void advance(double dt)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            double d[3], square = 0;
            for (int k = 0; k < 3; k++) {
                d[k] = bodies[i].p[k] - bodies[j].p[k];
                square += d[k] * d[k];
            }
            double scale = SUN * dt / (square * sqrt(square));
            for (int k = 0; k < 3; k++) {
                bodies[i].v[k] -= d[k] * bodies[j].mass * scale;
                bodies[j].v[k] += d[k] * bodies[i].mass * scale;
            }
        }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            bodies[i].p[k] += dt * bodies[i].v[k];
}

static double energy(void)
{
    double e = 0;
    for (int i = 0; i < BODIES; i++) {
        const struct body *a = &bodies[i];
        e += 0.5 * a->mass * (a->v[0] * a->v[0] + a->v[1] * a->v[1] + a->v[2] * a->v[2]);
        for (int j = i + 1; j < BODIES; j++) {
            const struct body *b = &bodies[j];
            double x = a->p[0] - b->p[0], y = a->p[1] - b->p[1], z = a->p[2] - b->p[2];
            e -= SUN * a->mass * b->mass / sqrt(x * x + y * y + z * z);
        }
    }
    return e;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    double before = energy();
    for (int left = atoi(argv[1]); left > 0; left--)
        advance(0.5);
    printf("nbody %.17g %.17g %.17g\n", before, energy(), bodies[1].p[0]);
    return 0;
}
