/* Four integer loops of the kind embedded benchmarks time: list processing, small matrices, a
 * state machine over text, and CRCs. `loops PART ROUNDS`, PART being mix, list, matrix, state or
 * crc; prints one checksum. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t seed = 0x2545F491;

static uint32_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

/* --- list: find, reverse, sort by two keys, remove and put back --- */

struct node {
    struct node *next;
    int16_t key, value;
};

enum { NODES = 64 };
static struct node arena[NODES];

static struct node *list_build(void)
{
    for (int i = 0; i < NODES; i++) {
        arena[i].next = i + 1 < NODES ? &arena[i + 1] : NULL;
        arena[i].key = (int16_t)(draw() & 0x7fff);
        arena[i].value = (int16_t)i;
    }
    return &arena[0];
}

static struct node *list_reverse(struct node *head)
{
    struct node *done = NULL;
    while (head) {
        struct node *next = head->next;
        head->next = done;
        done = head;
        head = next;
    }
    return done;
}

static const struct node *list_find(const struct node *head, int16_t key)
{
    while (head && head->key != key)
        head = head->next;
    return head;
}

static int by_key(const struct node *a, const struct node *b) { return a->key - b->key; }
static int by_value(const struct node *a, const struct node *b) { return a->value - b->value; }

static struct node *merge(struct node *a, struct node *b,
                          int (*order)(const struct node *, const struct node *))
{
    struct node head = {0}, *tail = &head;
    while (a && b) {
        struct node **from = order(a, b) <= 0 ? &a : &b;
        tail->next = *from;
        tail = *from;
        *from = tail->next;
    }
    tail->next = a ? a : b;
    return head.next;
}

static struct node *list_sort(struct node *head,
                              int (*order)(const struct node *, const struct node *))
{
    struct node *runs[16] = {0};
    while (head) {
        struct node *one = head;
        head = head->next;
        one->next = NULL;
        int level = 0;
        for (; runs[level]; level++) {
            one = merge(runs[level], one, order);
            runs[level] = NULL;
        }
        runs[level] = one;
    }
    struct node *all = NULL;
    for (int level = 0; level < 16; level++)
        all = merge(runs[level], all, order);
    return all;
}

static uint32_t list_part(uint32_t round)
{
    static struct node *head;
    if (!head)
        head = list_build();
    uint32_t sum = round;
    for (int i = 0; i < 24; i++) {
        int16_t key = i & 1 ? (int16_t)(draw() & 0x7fff) : arena[i * 7 % NODES].key;
        const struct node *found = list_find(head, key);
        sum = sum * 31 + (found ? (uint32_t)found->value : 0xffffu);
    }
    head = list_sort(list_reverse(head), by_key);
    sum = sum * 31 + (uint32_t)head->value;
    arena[round % NODES].key ^= (int16_t)(round & 0x1ff);
    head = list_sort(head, by_value);
    return sum * 31 + (uint32_t)head->key;
}

/* --- matrix: products by a constant, a vector and a matrix, bit fields summed --- */

enum { N = 24 };
static int16_t ma[N][N], mb[N][N];
static int32_t mc[N][N];

static uint32_t matrix_part(uint32_t round)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            ma[i][j] = (int16_t)(ma[i][j] + (int16_t)(round + (uint32_t)(i * j)));
            mb[i][j] = (int16_t)(i * 3 - j * 5 + (int)(round & 7));
        }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            int32_t sum = 0;
            for (int k = 0; k < N; k++)
                sum += ma[i][k] * mb[k][j];
            mc[i][j] = sum;
        }
    uint32_t total = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            uint32_t v = (uint32_t)mc[i][j];
            total += ((v >> 2) & 0xf) * ((v >> 5) & 0x7f);
            total = (total << 1) | (total >> 31);
        }
    return total;
}

/* --- state: which of the words of a text are integers, hexadecimal, floats, or none of these --- */

enum state { START, SIGN, DIGITS, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, POWER, ZERO, HEX, BAD,
             STATES };

static char text[2048];

static void state_build(void)
{
    static const char *const words[] = {"5012", "1234", "-874", "+122", "35.54400", ".1234500",
        "-110.700", "+0.64400", "5.500e+3", "-.123e-2", "-87e+832", "+0.6e-12", "0x1fE4", "T0.3e-1F",
        "-T.T++Tq", "1T3.4e4z", "34.0e-T^"};
    size_t used = 0;
    for (;;) {
        const char *word = words[draw() % (sizeof words / sizeof *words)];
        size_t length = strlen(word);
        if (used + length + 2 > sizeof text)
            break;
        memcpy(text + used, word, length);
        used += length;
        text[used++] = ',';
    }
    text[used] = 0;
}

static int is_digit(char c) { return c >= '0' && c <= '9'; }

static enum state step(enum state from, char c)
{
    switch (from) {
    case START:
        if (c == '0') return ZERO;
        if (is_digit(c)) return DIGITS;
        if (c == '+' || c == '-') return SIGN;
        return c == '.' ? POINT : BAD;
    case SIGN:
        if (is_digit(c)) return DIGITS;
        return c == '.' ? POINT : BAD;
    case ZERO:
        if (c == 'x') return HEX;
        /* fall through */
    case DIGITS:
        if (is_digit(c)) return DIGITS;
        if (c == '.') return FRACTION;
        return c == 'e' ? EXPONENT : BAD;
    case POINT:
        return is_digit(c) ? FRACTION : BAD;
    case FRACTION:
        if (is_digit(c)) return FRACTION;
        return c == 'e' ? EXPONENT : BAD;
    case EXPONENT:
        if (c == '+' || c == '-') return EXPONENT_SIGN;
        /* fall through */
    case EXPONENT_SIGN:
    case POWER:
        return is_digit(c) ? POWER : BAD;
    case HEX:
        if (is_digit(c)) return HEX;
        return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') ? HEX : BAD;
    default:
        return BAD;
    }
}

static uint32_t state_part(uint32_t round)
{
    static uint32_t ended[STATES], entered[STATES];
    if (!text[0])
        state_build();
    size_t spoiled = (round * 37) % (sizeof text - 64);
    char kept = text[spoiled];
    if (kept != ',' && kept)
        text[spoiled] = "0e.x+"[round % 5];
    enum state now = START;
    for (const char *c = text; *c; c++) {
        if (*c == ',') {
            ended[now]++;
            now = START;
            continue;
        }
        enum state next = step(now, *c);
        if (next != now)
            entered[next]++;
        now = next;
    }
    text[spoiled] = kept;
    uint32_t sum = 0;
    for (int i = 0; i < STATES; i++)
        sum = sum * 33 + ended[i] + 7 * entered[i];
    return sum;
}

/* --- crc: CRC-16 bit by bit, CRC-32 by table --- */

static uint16_t crc16(uint16_t crc, uint8_t byte)
{
    for (int bit = 0; bit < 8; bit++) {
        int low = (crc ^ byte) & 1;
        byte >>= 1;
        crc >>= 1;
        if (low)
            crc ^= 0xA001;
    }
    return crc;
}

static uint32_t crc_part(uint32_t round)
{
    static uint32_t table[256];
    static uint8_t data[1024];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value & 1 ? (value >> 1) ^ 0xEDB88320u : value >> 1;
            table[i] = value;
            for (int j = 0; j < 4; j++)
                data[i * 4 + (uint32_t)j] = (uint8_t)draw();
        }
    data[round % sizeof data] ^= (uint8_t)round;
    uint32_t crc = ~round;
    for (size_t i = 0; i < sizeof data; i++)
        crc = table[(crc ^ data[i]) & 0xff] ^ (crc >> 8);
    uint16_t small = (uint16_t)crc;
    for (size_t i = 0; i < sizeof data / 4; i++)
        small = crc16(small, data[i]);
    return crc ^ small;
}

int main(int argc, char **argv)
{
    static const struct { const char *name; uint32_t (*run)(uint32_t); } parts[] = {
        {"list", list_part}, {"matrix", matrix_part}, {"state", state_part}, {"crc", crc_part}};
    if (argc != 3)
        return 2;
    uint32_t rounds = (uint32_t)atoi(argv[2]), sum = 0, ran = 0;
    for (uint32_t round = 0; round < rounds; round++)
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            if (!strcmp(argv[1], "mix") || !strcmp(argv[1], parts[i].name)) {
                sum = (sum << 7 | sum >> 25) ^ parts[i].run(round);
                ran++;
            }
    printf("%s %u %08x\n", argv[1], ran, sum);
    return ran ? 0 : 2;
}
