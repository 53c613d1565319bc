/*
 * SHA-256 (FIPS 180-4), for interpreters in which it is a shared library.  It names the cached seccomp filters.
 */
#include "launcher.h"

#include <stdint.h>

/* The first bits of the fractions of the square and cube roots of the first primes. */
static const uint32_t initial_state[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};
static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t word, int bits)
{
    return word >> bits | word << (32 - bits);
}

static void add_block(uint32_t *state, const unsigned char *block)
{
    uint32_t schedule[64], v[8];
    for (int index = 0; index < 16; index++)
        schedule[index] = (uint32_t)block[4 * index] << 24 | (uint32_t)block[4 * index + 1] << 16 |
                          (uint32_t)block[4 * index + 2] << 8 | block[4 * index + 3];
    for (int index = 16; index < 64; index++) {
        uint32_t late = schedule[index - 2], early = schedule[index - 15];
        schedule[index] = schedule[index - 16] + schedule[index - 7] +
                          (rotate(early, 7) ^ rotate(early, 18) ^ early >> 3) +
                          (rotate(late, 17) ^ rotate(late, 19) ^ late >> 10);
    }
    memcpy(v, state, sizeof v);
    for (int round = 0; round < 64; round++) {
        uint32_t first = v[7] + (rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25)) +
                         ((v[4] & v[5]) ^ (~v[4] & v[6])) + round_constants[round] + schedule[round];
        uint32_t second = (rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22)) +
                          ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += first;
        v[0] = first + second;
    }
    for (int index = 0; index < 8; index++)
        state[index] += v[index];
}

static void add_end(uint32_t *state, const unsigned char *rest, size_t length, uint64_t total)
{
    unsigned char block[128] = {0};
    memcpy(block, rest, length);
    block[length] = 0x80;
    size_t whole = length < 56 ? 64 : 128;
    for (int index = 0; index < 8; index++)
        block[whole - 1 - (size_t)index] = (unsigned char)(total * 8 >> 8 * index);
    add_block(state, block);
    if (whole == 128)
        add_block(state, block + 64);
}

const char sha256_text[] = "sha256(data) -> digest";

PyObject *sha256(PyObject *Py_UNUSED(module), PyObject *argument)
{
    Py_buffer data;
    if (PyObject_GetBuffer(argument, &data, PyBUF_SIMPLE) < 0)
        return NULL;
    uint32_t state[8];
    memcpy(state, initial_state, sizeof state);
    const unsigned char *bytes = data.buf;
    size_t length = (size_t)data.len, whole = length / 64 * 64;
    for (size_t at = 0; at < whole; at += 64)
        add_block(state, bytes + at);
    add_end(state, bytes + whole, length - whole, length);
    PyBuffer_Release(&data);
    unsigned char digest[32];
    for (int index = 0; index < 32; index++)
        digest[index] = (unsigned char)(state[index / 4] >> (24 - index % 4 * 8));
    return PyBytes_FromStringAndSize((const char *)digest, sizeof digest);
}
