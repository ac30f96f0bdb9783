// A layer's whole update in one call: target, subproblem, and the product that moves W, or its left factor if there is a P. It
// calls the kernels that do one of these each, so its results are theirs to the bit; what they overwrite are copies.

#include "exports.hpp"

#define EXPORTS(T, suffix)                                                                                                       \
    EXPORT void targets_##suffix(int64_t, int64_t, int64_t, const T *, T *, const T *, T *, double);                             \
    EXPORT void minimise_##suffix(int64_t, int64_t, int64_t, int64_t, int64_t, const T *, T *, const T *, const T *, T *, T *,   \
                                  int64_t, SEARCH, double);                                                                      \
    EXPORT void cross_##suffix(int64_t, int64_t, int64_t, int64_t, int64_t, T *, const T *, const T *);                          \
    EXPORT void update_##suffix(int64_t different, int64_t R, int64_t I, int64_t E, int64_t O, const T *X, const T *Z,           \
                                const T *delta, const T *eta, const T *lam, T *b, T *P, T *W, int64_t iterations, SEARCH,        \
                                double leak) {                                                                                   \
        const int64_t size = E * R * O;                                                                                          \
        const Scratch<T> memory(3 * size);                                                                                       \
        T *moved = memory.data, *target = moved + size, *S = P ? P : target + size;                                              \
        if (Z)                                                                                                                   \
            std::copy_n(Z, size, moved);                                                                                         \
        else                                                                                                                     \
            std::fill_n(moved, size, T(0));                                                                                      \
        std::copy_n(delta, size, target);                                                                                        \
        targets_##suffix(E, R, O, moved, target, eta, nullptr, leak);                                                            \
        minimise_##suffix(different, R, I, E, O, X, moved, target, lam, b, S, iterations, armijo, sigma, shrink, trials, leak);  \
        if (!P) cross_##suffix(E, O, I, R, different, W, S, X);                                                                  \
    }

EXPORTS(float, f32)
EXPORTS(double, f64)
