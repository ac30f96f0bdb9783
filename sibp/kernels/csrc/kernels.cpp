// What Python calls: the solvers of conjugate_gradient.py, fused, everything between a layer's target and its displacement.
// descent.hpp has the nonlinear solver, batch.hpp, weights.hpp and bias.hpp its spaces, linear.hpp the linear ones.
//
// Letters: E member, R row, O neuron, W panel width. Arrays that come from torch are [E, R, O], contiguous. Inside, they are
// kept as panels [E, O / W, R, W], the last one padded with zeros: a panel of all arrays fits the nearest caches, so one visit
// does the elementwise work and the product with K [R, R] for W neurons at once.
// Every number of a member is its own; no sum runs over E. Sums are formed per panel in a fixed order and added up in double, so
// the result does not depend on the number of threads.
// sigma(z) = z for z > 0 and leak * z otherwise: identity has leak 1, ReLU leak 0, leaky ReLU leak 0.01; at 0 the left
// derivative.
//
// The slow twin is sibp/solvers/conjugate_gradient.py; names are the same. Compiled and loaded by sibp/kernels/native.py.

#include "batch.hpp"
#include "cross.hpp"
#include "exports.hpp"
#include "linear.hpp"
#include "weights.hpp"

namespace {

// T = sigma(Z) - eta delta and D = sigma'(Z) delta.
template <class T> void targets(int64_t E, int64_t R, int64_t O, const T *Z, T *delta, const T *eta, T leak, T *D) {
#pragma omp parallel for schedule(static) if (E * R * O >= SMALL)
    for (int64_t row = 0; row < E * R; ++row)
        targets_of(O, Z + row * O, delta + row * O, eta[row / R], leak, D ? D + row * O : nullptr);
}

} // namespace

// ---- What Python calls; see exports.hpp

#define EXPORTS(T, suffix)                                                                                                       \
    EXPORT void targets_##suffix(int64_t E, int64_t R, int64_t O, const T *Z, T *delta, const T *eta, T *D, double leak) {       \
        targets<T>(E, R, O, Z, delta, eta, static_cast<T>(leak), D);                                                             \
    }                                                                                                                            \
    EXPORT void cross_##suffix(int64_t E, int64_t O, int64_t I, int64_t R, int64_t S, T *W, const T *D, const T *X) {            \
        Cross<T>::add(E, R, O, I, S, D, X, W);                                                                                   \
    }                                                                                                                            \
    EXPORT void minimise_##suffix(int64_t S, int64_t R, int64_t I, int64_t E, int64_t O, const T *X, T *Z, const T *target,      \
                                  const T *lam, T *b, T *P, int64_t iterations, SEARCH, double leak) {                           \
        const Search search{armijo != 0, sigma, shrink, trials};                                                                 \
        Team::lead(E * R * (O + I) >= SMALL, [&] {                                                                               \
            minimise_batch<T>(E, {1, R, O, WIDTH<T>}, search, leak, iterations, I, S == 1, X, target, lam, b, Z, P);             \
        });                                                                                                                      \
    }                                                                                                                            \
    EXPORT void minimise_weights_##suffix(IMAGES(T), const T *Z, const T *target, const T *lam, T *b, T *P, int64_t iterations,  \
                                          SEARCH, double leak) {                                                                 \
        const Geometry geometry{B, C, H, W, kh, kw, ph, pw};                                                                     \
        const int64_t stride[] = {S > 1 ? of_member : 0, of_sample, of_channel, of_row, of_column};                              \
        const Search search{armijo != 0, sigma, shrink, trials};                                                                 \
        over_members<T>(geometry, E, images, stride, [&](int64_t e, const Patches<T> &x) {                                       \
            const int64_t rows = e * R * O;                                                                                      \
            minimise_weights<T>(x, O, search, leak, lam[e], iterations, Z + rows, target + rows, b ? b + e * O : nullptr,        \
                                P + e * I * O);                                                                                  \
        });                                                                                                                      \
    }                                                                                                                            \
    EXPORT void linear_##suffix(int64_t S, int64_t R, int64_t I, int64_t E, int64_t O, const T *X, const T *residual,            \
                                const T *lam, const T *tolerance, T *D, int64_t joint, int64_t iterations) {                     \
        solve_linear<T>({E, R, O, WIDTH<T>}, iterations, I, S, joint != 0, X, residual, lam, tolerance, D);                      \
    }                                                                                                                            \
    EXPORT void linear_weights_##suffix(IMAGES(T), int64_t joint, const T *residual, const T *lam, const T *tolerance, T *D,     \
                                        int64_t iterations) {                                                                    \
        const Geometry geometry{B, C, H, W, kh, kw, ph, pw};                                                                     \
        const int64_t stride[] = {S > 1 ? of_member : 0, of_sample, of_channel, of_row, of_column};                              \
        over_members<T>(geometry, E, images, stride, [&](int64_t e, const Patches<T> &x) {                                       \
            LinearWeights<T>(x, O, joint != 0, 1 / (2 * lam[e]), tolerance[e])                                                   \
                .run(iterations, residual + e * R * O, D + e * I * O);                                                           \
        });                                                                                                                      \
    }

EXPORTS(float, f32)
EXPORTS(double, f64)
