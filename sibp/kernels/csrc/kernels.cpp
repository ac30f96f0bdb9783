// The solvers of conjugate_gradient.py, fused: everything between a layer's target and its displacement. Here are the nonlinear
// solver in batch space and what Python calls; linear.hpp has the linear ones, weights.hpp the nonlinear one of a convolution.
//
// Letters: E member, R row, O neuron, W panel width. Arrays that come from torch are [E, R, O], contiguous. Inside, they are
// kept as panels [E, O / W, R, W], the last one padded with zeros: a panel of all arrays fits the nearest caches, so one visit
// does the elementwise work and the product with K [R, R] for W neurons at once.
// Every number of a member is its own; no sum runs over E. Sums are formed per panel in a fixed order and added up in double, so
// the result does not depend on the number of threads.
// sigma(z) = z for z > 0 and leak * z otherwise: identity has leak 1, ReLU leak 0, leaky ReLU leak 0.01; at 0 the left
// derivative.
//
// The slow twin is sibp/solvers/conjugate_gradient.py; names are the same. Compiled once by sibp/native/__init__.py, called
// through ctypes.

#include "bias.hpp"
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

// The next `size` elements of a piece of memory, from an aligned address on.
template <class T> T *take(T *&memory, int64_t size) {
    T *here = reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(memory) + ALIGNED - 1) / ALIGNED * ALIGNED);
    memory = here + size;
    return here;
}

// One layer's W-problem for some members at once, whose K are `packed`.
template <class T> class Solver {
  public:
    static int64_t memory(const Shape &s) { return 7 * (s.size() + ALIGNED); }

    Solver(const Shape &shape, const Search &search, T leak, const T *packed, T *memory)
        : s(shape), search(search), leak(leak), all(s.E, 1), packed(packed) {
        for (T **array : {&Z, &aim, &P, &g, &image_g, &d, &image_d}) *array = take(memory, s.size());
    }

    // Move Z [E, R, O] along and write the displacement's coordinates S [E, R, O]; then the bias problem there, if there is a b.
    void run(int64_t iterations, const T *target, const T *lam, T *b, T *Z_rows, T *S) {
        begin(target, lam, Z_rows);
        for (int64_t k = 0; k < iterations; ++k) {
            turn(k == 0);
            if (search.armijo)
                take_armijo_step(k + 1 == iterations);
            else
                take_curvature_step(k + 1 == iterations);
        }
        over_panels<0>(s, all, nullptr, [&](int64_t e, int64_t p, double *) {
            from_panel(s, P + s.at(e, p), e, p, S);
            from_panel(s, Z + s.at(e, p), e, p, Z_rows);
        });
        if (b) move_bias(s, search, leak, iterations, Z, aim, lam, b);
    }

  private:
    const Shape s;
    const Search search;
    const T leak;
    const std::vector<char> all;
    const T *const packed;
    T *Z, *aim, *P, *g, *image_g, *d, *image_d;
    std::vector<Numbers> numbers;
    std::vector<double> sums = std::vector<double>(4 * s.E), bends = std::vector<double>(s.E);

    void begin(const T *target, const T *lam, const T *Z_rows) {
        for (int64_t e = 0; e < s.E; ++e) numbers.push_back(Numbers{static_cast<double>(lam[e])});
        over_panels<4>(s, all, sums.data(), [&](int64_t e, int64_t p, double *sum) {
            const int64_t at = s.at(e, p);
            to_panel(s, Z_rows, e, p, Z + at);
            to_panel(s, target, e, p, aim + at);
            std::fill_n(P + at, s.panel(), T(0));
            look(e, at, true, sum);
        });
        for (int64_t e = 0; e < s.E; ++e) numbers[e].data = sums[4 * e];
    }

    // The gradient at a panel's Z, its image, and the sums that the next direction needs.
    void look(int64_t e, int64_t at, bool first, double *sum) {
        sum[0] += gradient_of(s.panel(), Z + at, aim + at, leak, static_cast<T>(1 / numbers[e].lam), P + at, g + at);
        product(s, packed + e * s.packed(), g + at, image_g + at);
        inner_of(s.panel(), image_g + at, g + at, d + at, P + at, first, sum + 1);
    }

    void turn(bool first) {
        std::vector<T> betas(s.E);
        for (int64_t e = 0; e < s.E; ++e) {
            const double *sum = sums.data() + 4 * e;
            betas[e] = static_cast<T>(numbers[e].turn(first, std::fmax(sum[1], 0.0), sum[2], sum[3]));
        }
        over_panels<1>(s, all, bends.data(), [&](int64_t e, int64_t p, double *sum) {
            const int64_t at = s.at(e, p);
            sum[0] += direction_of(s.panel(), betas[e], g + at, image_g + at, Z + at, leak, d + at, image_d + at);
        });
    }

    // D += t d for the open members, then a look at the new place, or its data term alone at the last iteration.
    void move(const std::vector<double> &steps, const std::vector<char> &open, bool last) {
        over_panels<4>(s, open, sums.data(), [&](int64_t e, int64_t p, double *sum) {
            const int64_t at = s.at(e, p);
            if (steps[e] != 0) add_to(s.panel(), static_cast<T>(steps[e]), d + at, P + at, image_d + at, Z + at);
            if (last)
                sum[0] += data_of(s.panel(), Z + at, aim + at, leak);
            else
                look(e, at, false, sum);
        });
    }

    // The step is taken at once, and taken back, halved, where it did not lower f.
    void take_curvature_step(bool last) {
        std::vector<double> total(s.E), steps(s.E);
        std::vector<char> open = all;
        for (int64_t e = 0; e < s.E; ++e) total[e] = steps[e] = static_cast<T>(numbers[e].curvature_step(bends[e]));
        for (int64_t halving = 0; std::count(open.begin(), open.end(), 1); ++halving) {
            move(steps, open, last);
            for (int64_t e = 0; e < s.E; ++e) {
                if (!open[e]) continue;
                if (total[e] == 0) {
                    open[e] = 0;
                } else if (numbers[e].passes(total[e], sums[4 * e], search)) {
                    open[e] = 0;
                    numbers[e].take(total[e], sums[4 * e]);
                } else {
                    const double next = halving < search.trials ? total[e] / 2 : 0;
                    steps[e] = next - total[e];
                    total[e] = next;
                }
            }
        }
    }

    void take_armijo_step(bool last) {
        const std::vector<double> steps = armijo_steps();
        move(steps, all, last);
        for (int64_t e = 0; e < s.E; ++e) numbers[e].take(steps[e], sums[4 * e]);
    }

    // The first t = shrink^m, m < trials, that passes Armijo's test strictly, or 0.
    std::vector<double> armijo_steps() {
        std::vector<std::vector<T>> left(s.E);
        for (int64_t e = 0; e < s.E; ++e)
            left[e] = possible_steps<T>(search, numbers[e], s.panels(),
                                        [&](int64_t p, const T *t, double *sum) { try_steps(e, p, t, sum); });
        std::vector<double> found(s.E, 0.0), data(TRIALS * s.E);
        std::vector<char> open(s.E);
        for (size_t tried = 0;; tried += TRIALS) {
            for (int64_t e = 0; e < s.E; ++e) open[e] = found[e] == 0 && tried < left[e].size();
            if (!std::count(open.begin(), open.end(), 1)) return found;
            over_panels<TRIALS>(s, open, data.data(),
                                [&](int64_t e, int64_t p, double *sum) { try_steps(e, p, left[e].data() + tried, sum); });
            for (int64_t e = 0; e < s.E; ++e)
                if (open[e]) found[e] = first_that_passes(search, numbers[e], left[e].data() + tried, data.data() + e * TRIALS);
        }
    }

    void try_steps(int64_t e, int64_t p, const T *t, double *sum) const {
        const int64_t at = s.at(e, p);
        trials_of(s.panel(), Z + at, image_d + at, t, aim + at, leak, sum);
    }
};

// The W-problems of all members, as many at once as the outer cache holds: a solve visits its arrays a dozen times.
template <class T> class Groups {
  public:
    explicit Groups(const Shape &shape)
        : s(shape), most(std::clamp<int64_t>(CACHED / sizeof(T) / Solver<T>::memory({1, s.R, s.O, s.width}), 1, s.E)) {}

    int64_t memory() const { return s.E * s.packed() + ALIGNED + Solver<T>::memory(group(0)); }

    void run(const Search &search, T leak, int64_t iterations, int64_t I, int64_t different, const T *X, const T *target,
             const T *lam, T *memory, T *b, T *Z, T *S) const {
        T *packed = take(memory, s.E * s.packed());
        gram(s, I, different, false, X, packed);
        for (int64_t e = 0; e < s.E; e += most) {
            const int64_t at = e * s.R * s.O;
            Solver<T>(group(e), search, leak, packed + e * s.packed(), memory)
                .run(iterations, target + at, lam + e, b ? b + e * s.O : nullptr, Z + at, S + at);
        }
    }

  private:
    static constexpr int64_t CACHED = 4 << 20; // bytes
    const Shape s;
    const int64_t most;

    Shape group(int64_t e) const { return {std::min(most, s.E - e), s.R, s.O, s.width}; }
};

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
        const Groups<T> groups({E, R, O, WIDTH<T>});                                                                             \
        const Search search{armijo != 0, sigma, shrink, trials};                                                                 \
        const Scratch<T> memory(groups.memory());                                                                                \
        Team::lead(E * R * (O + I) >= SMALL,                                                                                     \
                   [&] { groups.run(search, static_cast<T>(leak), iterations, I, S, X, target, lam, memory.data, b, Z, P); });   \
    }                                                                                                                            \
    EXPORT void linear_##suffix(int64_t S, int64_t R, int64_t I, int64_t E, int64_t O, const T *X, const T *residual,            \
                                const T *lam, const T *tolerance, T *D, int64_t joint, int64_t iterations) {                     \
        solve_linear<T>({E, R, O, WIDTH<T>}, iterations, I, S, joint != 0, X, residual, lam, tolerance, D);                      \
    }                                                                                                                            \
    EXPORT void minimise_weights_##suffix(IMAGES(T), const T *Z, const T *target, const T *lam, T *b, T *P, int64_t iterations,  \
                                          SEARCH, double leak) {                                                                 \
        const Geometry geometry{B, C, H, W, kh, kw, ph, pw};                                                                     \
        const int64_t stride[] = {S > 1 ? of_member : 0, of_sample, of_channel, of_row, of_column};                              \
        const Search search{armijo != 0, sigma, shrink, trials};                                                                 \
        over_members<T>(geometry, E, images, stride, [&](int64_t e, const Patches<T> &x) {                                       \
            WeightSolver<T>(x, O, search, static_cast<T>(leak), lam[e])                                                          \
                .run(iterations, Z + e * R * O, target + e * R * O, b ? b + e * O : nullptr, P + e * I * O);                     \
        });                                                                                                                      \
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
