// One layer's nonlinear conjugate gradient in batch space, fused: the passes over memory that lie between two matrix products.
//
// Letters: E member, R row, O neuron. Arrays are [E, R, O], contiguous. Every number of a member is its own; no sum runs over E.
// Sums are formed per block of rows in a fixed order and added up in double, so the result does not depend on the number of threads.
// sigma(z) = z for z > 0 and leak * z otherwise: identity has leak 1, ReLU leak 0, leaky ReLU leak 0.01; at 0 the left derivative.
//
// The slow twin is sibp/conjugate_gradient.py; names are the same. Compiled once by sibp/native/__init__.py, called through ctypes.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

constexpr int64_t BLOCK = 8;     // rows per block of a sum
constexpr int TRIALS = 10;       // Armijo trials per pass over memory
constexpr int64_t SMALL = 1 << 15; // below this many elements threads cost more than they bring

// The numbers of one member's line; the layout is shared with Python (sibp/native/__init__.py: NUMBERS).
struct Numbers {
    double lam, gg, slope, DD, Dd, dd, bend, data, step;
    double start() const { return data + DD / (2 * lam); }
    double value(double t, double data_t) const { return data_t + (DD + 2 * t * Dd + t * t * dd) / (2 * lam); }
    void take(double t, double data_t) {
        DD = std::fmax(DD + 2 * t * Dd + t * t * dd, 0.0);
        Dd += t * dd;
        data = data_t;
        step = t;
    }
};

template <class T> inline T activate(T z, T leak) { return z > 0 ? z : leak * z; }
template <class T> inline T slope_of(T z, T leak) { return z > 0 ? T(1) : leak; }

// Rows: every loop over memory, on pointers that do not overlap, so that the compiler turns each into vector code.
#define ROW __restrict
#define SIMD _Pragma("omp simd")
#define SUM(...) _Pragma(#__VA_ARGS__)

template <class T> void targets_row(int64_t n, const T *ROW Z, const T *ROW delta, T eta, T leak, T *ROW target, T *ROW D) {
    SIMD for (int64_t i = 0; i < n; ++i) {
        target[i] = activate(Z[i], leak) - eta * delta[i];
        D[i] = slope_of(Z[i], leak) * delta[i];
    }
}

template <class T> T data_row(int64_t n, const T *ROW Z, const T *ROW target, T leak) {
    T sum = 0;
    SUM(omp simd reduction(+ : sum)) for (int64_t i = 0; i < n; ++i) {
        const T rest = activate(Z[i], leak) - target[i];
        sum += rest * rest;
    }
    return sum;
}

template <class T> T trial_row(int64_t n, const T *ROW Z, const T *ROW image_d, T t, const T *ROW target, T leak) {
    T sum = 0;
    SUM(omp simd reduction(+ : sum)) for (int64_t i = 0; i < n; ++i) {
        const T rest = activate(Z[i] + t * image_d[i], leak) - target[i];
        sum += rest * rest;
    }
    return sum;
}

template <class T> void gradient_row(int64_t n, const T *ROW Z, const T *ROW target, T leak, T inverse_lam, const T *ROW P, T *ROW g) {
    SIMD for (int64_t i = 0; i < n; ++i)
        g[i] = 2 * slope_of(Z[i], leak) * (activate(Z[i], leak) - target[i]) + inverse_lam * P[i];
}

template <class T> void add_row(int64_t n, T t, const T *ROW d, T *ROW P) {
    SIMD for (int64_t i = 0; i < n; ++i) P[i] += t * d[i];
}

template <class T> T dot_row(int64_t n, const T *ROW a, const T *ROW b) {
    T sum = 0;
    SUM(omp simd reduction(+ : sum)) for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
}

template <class T> void direction_row(int64_t n, T beta, const T *ROW g, T *ROW d) {
    if (beta == 0) // where d may hold anything, zero times it is not zero
        SIMD for (int64_t i = 0; i < n; ++i) d[i] = -g[i];
    else
        SIMD for (int64_t i = 0; i < n; ++i) d[i] = beta * d[i] - g[i];
}

template <class T> T bend_row(int64_t n, const T *ROW Z, const T *ROW image_d, T leak) {
    T sum = 0;
    SUM(omp simd reduction(+ : sum)) for (int64_t i = 0; i < n; ++i) {
        const T seen = slope_of(Z[i], leak) * image_d[i];
        sum += seen * seen;
    }
    return sum;
}

// The same at Z + shift, one shift per neuron, adding up the gradient and the squared slopes per neuron.
template <class T>
void bias_row(int64_t n, const T *ROW Z, const T *ROW shift, const T *ROW target, T leak, T *ROW gradient, T *ROW count) {
    SIMD for (int64_t o = 0; o < n; ++o) {
        const T value = Z[o] + shift[o], slope = slope_of(value, leak);
        gradient[o] += 2 * slope * (activate(value, leak) - target[o]);
        count[o] += slope * slope;
    }
}

// Run body(e, first, last, sums) over blocks of rows of every member, in parallel, and add the blocks' N sums up in order.
template <int N, class Body> void over_rows(int64_t E, int64_t R, int64_t O, double *sums, Body body) {
    const int64_t blocks = (R + BLOCK - 1) / BLOCK;
    std::vector<double> parts(static_cast<size_t>(E * blocks * (N ? N : 1)), 0.0);
    double *part = parts.data();
#pragma omp parallel for schedule(static) if (E * R * O >= SMALL)
    for (int64_t job = 0; job < E * blocks; ++job) {
        const int64_t e = job / blocks, first = (job % blocks) * BLOCK;
        body(e, first, first + BLOCK < R ? first + BLOCK : R, part + job * N);
    }
    for (int64_t e = 0; e < E; ++e)
        for (int n = 0; n < N; ++n) {
            double sum = 0;
            for (int64_t block = 0; block < blocks; ++block) sum += part[(e * blocks + block) * N + n];
            sums[e * N + n] = sum;
        }
}

// T = sigma(Z) - eta delta and D = sigma'(Z) delta.
template <class T>
void targets(int64_t E, int64_t R, int64_t O, const T *Z, const T *delta, const T *eta, T leak, T *target, T *D) {
    over_rows<0>(E, R, O, nullptr, [=](int64_t e, int64_t first, int64_t last, double *) {
        const int64_t row = (e * R + first) * O;
        targets_row((last - first) * O, Z + row, delta + row, eta[e], leak, target + row, D + row);
    });
}

// g = 2 sigma'(Z) (sigma(Z) - T), the gradient at displacement 0, and the data term.
template <class T>
void begin_solve(int64_t E, int64_t R, int64_t O, const T *Z, const T *target, T leak, T *g, Numbers *numbers) {
    std::vector<double> sums(E);
    over_rows<1>(E, R, O, sums.data(), [=](int64_t e, int64_t first, int64_t last, double *sum) {
        for (int64_t r = first; r < last; ++r) {
            const int64_t row = (e * R + r) * O;
            sum[0] += data_row(O, Z + row, target + row, leak);
            // the displacement is 0, so any finite array stands for it
            gradient_row(O, Z + row, target + row, leak, T(0), target + row, g + row);
        }
    });
    for (int64_t e = 0; e < E; ++e) {
        Numbers &n = numbers[e];
        n.gg = n.slope = n.DD = n.Dd = n.dd = n.bend = n.step = 0;
        n.data = sums[e];
    }
}

// d = -g + beta d by Fletcher-Reeves, back to -g where that does not descend; the image of d by the same recurrence.
template <class T>
void direction(int64_t E, int64_t R, int64_t O, int64_t k, const T *g, const T *image_g, const T *P, const T *Z, T leak, T *d,
               T *image_d, Numbers *numbers) {
    std::vector<double> sums(3 * E), bends(E);
    std::vector<T> betas(E);
    over_rows<3>(E, R, O, sums.data(), [=](int64_t e, int64_t first, int64_t last, double *sum) {
        for (int64_t r = first; r < last; ++r) {
            const int64_t row = (e * R + r) * O;
            sum[0] += dot_row(O, g + row, image_g + row);
            if (k == 0) continue;
            sum[1] += dot_row(O, d + row, image_g + row);
            sum[2] += dot_row(O, P + row, image_g + row);
        }
    });
    for (int64_t e = 0; e < E; ++e) {
        Numbers &n = numbers[e];
        const double gg = std::fmax(sums[3 * e], 0.0), dg = sums[3 * e + 1], Dg = sums[3 * e + 2];
        double beta = k == 0 ? 0.0 : gg / n.gg;
        if (!(beta * dg - gg < 0)) beta = 0; // also for NaN
        n.slope = beta * dg - gg;
        n.dd = std::fmax(gg - 2 * beta * dg + beta * beta * n.dd, 0.0);
        n.Dd = beta * n.Dd - Dg;
        n.gg = gg;
        betas[e] = static_cast<T>(beta);
    }
    const T *beta_of = betas.data();
    over_rows<1>(E, R, O, bends.data(), [=](int64_t e, int64_t first, int64_t last, double *sum) {
        const T beta = beta_of[e];
        for (int64_t r = first; r < last; ++r) {
            const int64_t row = (e * R + r) * O;
            direction_row(O, beta, g + row, d + row);
            direction_row(O, beta, image_g + row, image_d + row);
            sum[0] += bend_row(O, Z + row, image_d + row, leak);
        }
    });
    for (int64_t e = 0; e < E; ++e) numbers[e].bend = bends[e];
}

// ||sigma(Z + t image_d) - T||^2 at TRIALS steps of every member at once: t[e * TRIALS + j].
template <class T>
void trial_data(int64_t E, int64_t R, int64_t O, const T *Z, const T *image_d, const T *target, T leak, const T *t, double *data) {
    over_rows<TRIALS>(E, R, O, data, [=](int64_t e, int64_t first, int64_t last, double *sum) {
        for (int64_t r = first; r < last; ++r) {
            const int64_t row = (e * R + r) * O;
            for (int j = 0; j < TRIALS; ++j) // a row stays in the nearest cache for all its trials
                sum[j] += trial_row(O, Z + row, image_d + row, t[e * TRIALS + j], target + row, leak);
        }
    });
}

// The first t = shrink^m, m < trials, that passes Armijo's test strictly, or 0.
template <class T>
void armijo(int64_t E, int64_t R, int64_t O, const T *Z, const T *image_d, const T *target, T leak, double sigma, double shrink,
            int64_t trials, const Numbers *numbers, double *steps) {
    std::vector<double> data(E * TRIALS);
    std::vector<T> t(E * TRIALS);
    std::vector<char> decided(E, 0);
    for (int64_t e = 0; e < E; ++e) steps[e] = 0;
    for (int64_t m = 0; m < trials; m += TRIALS) {
        for (int64_t e = 0; e < E; ++e)
            for (int j = 0; j < TRIALS; ++j) t[e * TRIALS + j] = static_cast<T>(std::pow(shrink, double(m + j)));
        trial_data(E, R, O, Z, image_d, target, leak, t.data(), data.data());
        bool all = true;
        for (int64_t e = 0; e < E; ++e) {
            const Numbers &n = numbers[e];
            for (int j = 0; j < TRIALS && m + j < trials && !decided[e]; ++j) {
                const double step = t[e * TRIALS + j];
                if (n.value(step, data[e * TRIALS + j]) < n.start() + sigma * step * n.slope) {
                    steps[e] = step;
                    decided[e] = 1;
                }
            }
            all = all && decided[e];
        }
        if (all) return;
    }
}

// D += t d, Z += t image_d, and the new gradient, for steps given; the data term at the new Z goes to data.
template <class T>
void move(int64_t E, int64_t R, int64_t O, const double *steps, const T *d, const T *image_d, const T *target, T leak, bool last_one,
          const Numbers *numbers, T *P, T *Z, T *g, double *data) {
    over_rows<1>(E, R, O, data, [=](int64_t e, int64_t first, int64_t last, double *sum) {
        const T t = static_cast<T>(steps[e]), inverse_lam = static_cast<T>(1 / numbers[e].lam);
        for (int64_t r = first; r < last; ++r) {
            const int64_t row = (e * R + r) * O;
            if (t != 0) {
                add_row(O, t, d + row, P + row);
                add_row(O, t, image_d + row, Z + row);
            }
            sum[0] += data_row(O, Z + row, target + row, leak);
            if (!last_one) gradient_row(O, Z + row, target + row, leak, inverse_lam, P + row, g + row);
        }
    });
}

// Line search and update. The curvature step is taken at once and taken back, halved, where it did not lower f.
template <class T>
void advance(int64_t E, int64_t R, int64_t O, int64_t kind, double sigma, double shrink, int64_t trials, int64_t last_one,
             const T *d, const T *image_d, const T *target, T leak, T *P, T *Z, T *g, Numbers *numbers) {
    std::vector<double> steps(E, 0.0), data(E);
    if (kind == 1) {
        armijo(E, R, O, Z, image_d, target, leak, sigma, shrink, trials, numbers, steps.data());
        move(E, R, O, steps.data(), d, image_d, target, leak, last_one != 0, numbers, P, Z, g, data.data());
        for (int64_t e = 0; e < E; ++e) numbers[e].take(steps[e], data[e]);
        return;
    }
    std::vector<double> total(E, 0.0);
    std::vector<char> open(E, 1);
    for (int64_t e = 0; e < E; ++e) {
        const Numbers &n = numbers[e];
        const double bend = 2 * n.bend + n.dd / n.lam;
        total[e] = steps[e] = bend > 0 && -n.slope / bend > 0 ? static_cast<double>(static_cast<T>(-n.slope / bend)) : 0;
    }
    for (int64_t halving = 0;; ++halving) {
        move(E, R, O, steps.data(), d, image_d, target, leak, last_one != 0, numbers, P, Z, g, data.data());
        bool again = false;
        for (int64_t e = 0; e < E; ++e) {
            Numbers &n = numbers[e];
            steps[e] = 0;
            if (!open[e]) continue;
            if (total[e] == 0 || n.value(total[e], data[e]) < n.start()) {
                open[e] = 0;
                if (total[e] == 0) n.step = 0; else n.take(total[e], data[e]);
            } else {
                const double next = halving < trials ? total[e] / 2 : 0;
                steps[e] = next - total[e];
                total[e] = next;
                again = true;
            }
        }
        if (!again) return;
    }
}

// The bias problem from start to end: X is a column of ones, so displacement and direction are one number per neuron.
template <class T>
void bias(int64_t E, int64_t R, int64_t O, int64_t iterations, int64_t kind, double sigma, double shrink, int64_t trials, const T *Z,
          const T *target, T leak, const T *lam, T *b) {
#pragma omp parallel for schedule(static) if (E > 1 && E * R * O >= SMALL)
    for (int64_t e = 0; e < E; ++e) {
        const T *z0 = Z + e * R * O, *aim = target + e * R * O;
        std::vector<T> p(O, 0), g(O), active(O), d(O, 0), shifted(O);
        double gg_old = 0, data = 0;
        const double l = lam[e];
        const auto look = [&](const T *shift, T *gradient, T *count) { // data term at Z + shift, with its gradient if asked
            double sum = 0;
            if (gradient) std::fill_n(gradient, O, T(0)), std::fill_n(count, O, T(0));
            for (int64_t r = 0; r < R; ++r) {
                sum += trial_row(O, z0 + r * O, shift, T(1), aim + r * O, leak);
                if (gradient) bias_row(O, z0 + r * O, shift, aim + r * O, leak, gradient, count);
            }
            return sum;
        };
        data = look(p.data(), g.data(), active.data());
        for (int64_t k = 0; k < iterations; ++k) {
            double gg = 0, dg = 0;
            for (int64_t o = 0; o < O; ++o) {
                g[o] += p[o] / static_cast<T>(l);
                gg += double(g[o]) * g[o];
                dg += double(d[o]) * g[o];
            }
            double beta = k == 0 ? 0.0 : gg / gg_old;
            if (!(beta * dg - gg < 0)) beta = 0;
            gg_old = gg;
            Numbers n{l, gg, 0, 0, 0, 0, 0, data, 0};
            for (int64_t o = 0; o < O; ++o) {
                d[o] = beta == 0 ? -g[o] : static_cast<T>(beta) * d[o] - g[o];
                n.slope += double(g[o]) * d[o];
                n.DD += double(p[o]) * p[o];
                n.Dd += double(p[o]) * d[o];
                n.dd += double(d[o]) * d[o];
                n.bend += double(active[o]) * d[o] * d[o];
            }
            double t = 0, step = 1;
            const double bend = 2 * n.bend + n.dd / l;
            if (kind == 0) step = bend > 0 && -n.slope / bend > 0 ? -n.slope / bend : 0;
            for (int64_t m = 0; m < (kind == 0 ? trials + 1 : trials) && step > 0; ++m) {
                const T tried = static_cast<T>(step);
                for (int64_t o = 0; o < O; ++o) shifted[o] = p[o] + tried * d[o];
                // a curvature step is nearly always taken: look at the gradient in the same pass
                const double there = look(shifted.data(), kind == 0 ? g.data() : nullptr, active.data());
                const double limit = kind == 0 ? n.start() : n.start() + sigma * tried * n.slope;
                if (n.value(tried, there) < limit) {
                    t = tried;
                    data = there;
                    break;
                }
                step *= kind == 0 ? 0.5 : shrink;
            }
            if (t != 0) p = shifted;
            if (k + 1 < iterations && (kind == 1 || t == 0)) data = look(p.data(), g.data(), active.data());
        }
        for (int64_t o = 0; o < O; ++o) b[e * O + o] += p[o];
    }
}

// Run body(e, first, count) over blocks of neurons of every member, in parallel. Sums per neuron go down the rows in order, so they do
// not depend on the number of threads either.
constexpr int64_t NEURONS = 64;

template <class Body> void over_neurons(int64_t E, int64_t R, int64_t O, Body body) {
    const int64_t blocks = (O + NEURONS - 1) / NEURONS;
#pragma omp parallel for schedule(static) if (E * R * O >= SMALL)
    for (int64_t job = 0; job < E * blocks; ++job) {
        const int64_t e = job / blocks, first = (job % blocks) * NEURONS;
        body(e, first, first + NEURONS < O ? NEURONS : O - first);
    }
}

template <class T> void dots_row(int64_t n, const T *ROW a, const T *ROW b, T *ROW sums) {
    SIMD for (int64_t o = 0; o < n; ++o) sums[o] += a[o] * b[o];
}

template <class T> void linear_direction_row(int64_t n, const T *ROW beta, const T *ROW r, T *ROW d) {
    SIMD for (int64_t o = 0; o < n; ++o) d[o] = r[o] + beta[o] * d[o];
}

template <class T> void linear_bend_row(int64_t n, const T *ROW d, const T *ROW image_d, T mu, T *ROW bend) {
    SIMD for (int64_t o = 0; o < n; ++o) bend[o] += image_d[o] * (image_d[o] + mu * d[o]);
}

template <class T> void linear_move_row(int64_t n, const T *ROW t, T mu, const T *ROW d, const T *ROW image_d, T *ROW D, T *ROW r) {
    SIMD for (int64_t o = 0; o < n; ++o) {
        D[o] += t[o] * d[o];
        r[o] -= t[o] * (image_d[o] + mu * d[o]);
    }
}

// One iteration of linear conjugate gradient per neuron, given the residual r and its image: rr = <r, image_r>, beta = rr / rr_old,
// d = r + beta d, t = rr / <image_d, image_d + mu d>, D += t d, r -= t (image_d + mu d). A neuron at or below its floor stays.
template <class T>
void linear_step(int64_t E, int64_t R, int64_t O, int64_t k, double tolerance, const T *lam, const T *image_r, T *rr, T *floor_rr, T *r,
                 T *d, T *image_d, T *D) {
    over_neurons(E, R, O, [=](int64_t e, int64_t first, int64_t n) {
        T fresh[NEURONS] = {}, beta[NEURONS], bend[NEURONS] = {}, t[NEURONS];
        const T mu = 1 / (2 * lam[e]);
        const int64_t start = e * R * O + first, end = start + R * O;
        T *old = rr + e * O + first, *least = floor_rr + e * O + first;
        for (int64_t row = start; row < end; row += O) dots_row(n, r + row, image_r + row, fresh);
        for (int64_t o = 0; o < n; ++o) {
            fresh[o] = fresh[o] > 0 ? fresh[o] : 0; // K may be nearly singular
            if (k == 0) least[o] = static_cast<T>(tolerance * tolerance) * fresh[o];
            beta[o] = k > 0 && old[o] > 0 ? fresh[o] / old[o] : 0;
            old[o] = fresh[o];
        }
        for (int64_t row = start; row < end; row += O) {
            linear_direction_row(n, beta, r + row, d + row);
            linear_direction_row(n, beta, image_r + row, image_d + row);
            linear_bend_row(n, d + row, image_d + row, mu, bend);
        }
        for (int64_t o = 0; o < n; ++o) t[o] = bend[o] > 0 && fresh[o] > least[o] ? fresh[o] / bend[o] : 0;
        for (int64_t row = start; row < end; row += O) linear_move_row(n, t, mu, d + row, image_d + row, D + row, r + row);
    });
}

} // namespace

#define EXPORT(T, suffix)                                                                                                                \
    extern "C" __attribute__((visibility("default"))) void targets_##suffix(int64_t E, int64_t R, int64_t O, const T *Z, const T *delta, const T *eta, double leak,\
                                     T *target, T *D) {                                                                                  \
        targets<T>(E, R, O, Z, delta, eta, static_cast<T>(leak), target, D);                                                             \
    }                                                                                                                                    \
    extern "C" __attribute__((visibility("default"))) void begin_##suffix(int64_t E, int64_t R, int64_t O, const T *Z, const T *target, double leak, T *g, Numbers *n) {\
        begin_solve<T>(E, R, O, Z, target, static_cast<T>(leak), g, n);                                                                  \
    }                                                                                                                                    \
    extern "C" __attribute__((visibility("default"))) void direction_##suffix(int64_t E, int64_t R, int64_t O, int64_t k, const T *g, const T *image_g, const T *P,\
                                       const T *Z, double leak, T *d, T *image_d, Numbers *n) {                                          \
        direction<T>(E, R, O, k, g, image_g, P, Z, static_cast<T>(leak), d, image_d, n);                                                 \
    }                                                                                                                                    \
    extern "C" __attribute__((visibility("default"))) void advance_##suffix(int64_t E, int64_t R, int64_t O, int64_t kind, double sigma, double shrink, int64_t trials,\
                                     int64_t last, const T *d, const T *image_d, const T *target, double leak, T *P, T *Z, T *g,         \
                                     Numbers *n) {                                                                                       \
        advance<T>(E, R, O, kind, sigma, shrink, trials, last, d, image_d, target, static_cast<T>(leak), P, Z, g, n);                    \
    }                                                                                                                                    \
    extern "C" __attribute__((visibility("default"))) void bias_##suffix(int64_t E, int64_t R, int64_t O, int64_t iterations, int64_t kind, double sigma, double shrink,\
                                  int64_t trials, const T *Z, const T *target, double leak, const T *lam, T *b) {                        \
        bias<T>(E, R, O, iterations, kind, sigma, shrink, trials, Z, target, static_cast<T>(leak), lam, b);                              \
    }                                                                                                                                    \
    extern "C" __attribute__((visibility("default"))) void linear_##suffix(                                                              \
        int64_t E, int64_t R, int64_t O, int64_t k, double tolerance, const T *lam, const T *image_r, T *rr, T *least, T *r,             \
        T *d, T *image_d, T *D) {                                                                                                        \
        linear_step<T>(E, R, O, k, tolerance, lam, image_r, rr, least, r, d, image_d, D);                                                \
    }

EXPORT(float, f32)
EXPORT(double, f64)
