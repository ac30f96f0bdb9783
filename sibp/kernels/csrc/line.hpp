// A panel's elementwise work, and step sizes along a line.
#pragma once

#include <cmath>

#include "panels.hpp"

namespace {

constexpr int TRIALS = 4;       // Armijo trials per pass over memory
constexpr int64_t SCREENED = 4; // panels that may rule out a trial before all are looked at

// Elementwise work is on pointers that do not overlap, so that the compiler turns each loop into vector code.
template <class T> inline T activate(T z, T leak) { return z > 0 ? z : leak * z; }
template <class T> inline T slope_of(T z, T leak) { return z > 0 ? T(1) : leak; }

// The target sigma(Z) - eta delta in delta's place, and the error sigma'(Z) delta where there is a D.
template <class T> void targets_of(int64_t n, const T *ROW Z, T *ROW delta, T eta, T leak, T *ROW D) {
    if (D) SIMD for (int64_t i = 0; i < n; ++i) D[i] = slope_of(Z[i], leak) * delta[i];
    SIMD for (int64_t i = 0; i < n; ++i) delta[i] = activate(Z[i], leak) - eta * delta[i];
}

// The gradient's coordinates 2 sigma'(Z) (sigma(Z) - T) + P / lam; returns the data term ||sigma(Z) - T||^2.
template <class T> ALONE T gradient_of(int64_t n, const T *ROW Z, const T *ROW target, T leak, T inverse_lam, const T *ROW P, T *ROW g) {
    T sum = 0;
    SUM(omp simd reduction(+ : sum)) for (int64_t i = 0; i < n; ++i) {
        const T rest = activate(Z[i], leak) - target[i];
        g[i] = 2 * slope_of(Z[i], leak) * rest + inverse_lam * P[i];
        sum += rest * rest;
    }
    return sum;
}

// 2 sigma'(Z) (sigma(Z) - T); returns the data term.
template <class T> ALONE T gamma_of(int64_t n, const T *ROW Z, const T *ROW target, T leak, T *ROW gamma) {
    T sum = 0;
    SUM(omp simd reduction(+ : sum)) for (int64_t i = 0; i < n; ++i) {
        const T rest = activate(Z[i], leak) - target[i];
        gamma[i] = 2 * slope_of(Z[i], leak) * rest;
        sum += rest * rest;
    }
    return sum;
}

template <class T> ALONE T data_of(int64_t n, const T *ROW Z, const T *ROW target, T leak) {
    T sum = 0;
    SUM(omp simd reduction(+ : sum)) for (int64_t i = 0; i < n; ++i) {
        const T rest = activate(Z[i], leak) - target[i];
        sum += rest * rest;
    }
    return sum;
}

// The data term at Z + t image_d for TRIALS steps.
template <class T>
ALONE void trials_of(int64_t n, const T *ROW Z, const T *ROW image_d, const T *t, const T *ROW target, T leak, double *sums) {
    static_assert(TRIALS == 4, "one sum each");
    T a = 0, b = 0, c = 0, d = 0;
    const T ta = t[0], tb = t[1], tc = t[2], td = t[3];
    SUM(omp simd reduction(+ : a, b, c, d)) for (int64_t i = 0; i < n; ++i) {
        const T ra = activate(Z[i] + ta * image_d[i], leak) - target[i], rb = activate(Z[i] + tb * image_d[i], leak) - target[i];
        const T rc = activate(Z[i] + tc * image_d[i], leak) - target[i], rd = activate(Z[i] + td * image_d[i], leak) - target[i];
        a += ra * ra;
        b += rb * rb;
        c += rc * rc;
        d += rd * rd;
    }
    sums[0] += a;
    sums[1] += b;
    sums[2] += c;
    sums[3] += d;
}

template <class T> void add_multiple(int64_t n, T t, const T *ROW d, T *ROW P) {
    SIMD for (int64_t i = 0; i < n; ++i) P[i] += t * d[i];
}

// ||sigma'(Z) image_d||^2
template <class T> ALONE T bend_of(int64_t n, const T *ROW Z, const T *ROW image_d, T leak) {
    T sum = 0;
    SUM(omp simd reduction(+ : sum)) for (int64_t i = 0; i < n; ++i) {
        const T seen = slope_of(Z[i], leak) * image_d[i];
        sum += seen * seen;
    }
    return sum;
}

template <class T> void add_to(int64_t n, T t, const T *ROW d, T *ROW P, const T *ROW image_d, T *ROW Z) {
    SIMD for (int64_t i = 0; i < n; ++i) {
        P[i] += t * d[i];
        Z[i] += t * image_d[i];
    }
}

// <g, image_g>, <d, image_g> and <P, image_g>; d may hold anything where `first`.
template <class T>
ALONE void inner_of(int64_t n, const T *ROW image_g, const T *ROW g, const T *ROW d, const T *ROW P, bool first, double *sums) {
    T gg = 0, dg = 0, Dg = 0;
    if (first)
        SUM(omp simd reduction(+ : gg)) for (int64_t i = 0; i < n; ++i) gg += g[i] * image_g[i];
    else
        SUM(omp simd reduction(+ : gg, dg, Dg)) for (int64_t i = 0; i < n; ++i) {
            gg += g[i] * image_g[i];
            dg += d[i] * image_g[i];
            Dg += P[i] * image_g[i];
        }
    sums[0] += gg;
    sums[1] += dg;
    sums[2] += Dg;
}

// d = -g + beta d and the same for the images; returns ||sigma'(Z) image_d||^2.
template <class T>
ALONE T direction_of(int64_t n, T beta, const T *ROW g, const T *ROW image_g, const T *ROW Z, T leak, T *ROW d, T *ROW image_d) {
    T sum = 0;
    if (beta == 0) // where d may hold anything, zero times it is not zero
        SUM(omp simd reduction(+ : sum)) for (int64_t i = 0; i < n; ++i) {
            d[i] = -g[i];
            image_d[i] = -image_g[i];
            const T seen = slope_of(Z[i], leak) * image_d[i];
            sum += seen * seen;
        }
    else
        SUM(omp simd reduction(+ : sum)) for (int64_t i = 0; i < n; ++i) {
            d[i] = beta * d[i] - g[i];
            image_d[i] = beta * image_d[i] - image_g[i];
            const T seen = slope_of(Z[i], leak) * image_d[i];
            sum += seen * seen;
        }
    return sum;
}

struct Search {
    bool armijo;
    double sigma, shrink;
    int64_t trials; // of Armijo; halvings of the curvature step
};

// The numbers of one member's line.
struct Numbers {
    double lam, gg = 0, slope = 0, DD = 0, Dd = 0, dd = 0, data = 0;
    double start() const { return data + DD / (2 * lam); }
    double value(double t, double data_t) const { return data_t + (DD + 2 * t * Dd + t * t * dd) / (2 * lam); }
    bool passes(double t, double data_t, const Search &search) const {
        return value(t, data_t) < start() + (search.armijo ? search.sigma * t * slope : 0.0);
    }
    double curvature_step(double bend) const {
        const double all = 2 * bend + dd / lam, t = -slope / all;
        return all > 0 && t > 0 ? t : 0;
    }
    // Fletcher-Reeves, back to beta = 0 where that does not descend; the new slope, <D, d> and <d, d> by recurrence.
    double turn(bool first, double fresh, double dg, double Dg) {
        const double old = gg;
        double beta = first ? 0.0 : fresh / old;
        if (!(beta * dg - fresh < 0)) beta = 0; // also for NaN
        slope = beta * dg - fresh;
        dd = std::fmax(fresh - 2 * beta * dg + beta * beta * dd, 0.0);
        Dd = beta * Dd - Dg;
        gg = fresh;
        return beta;
    }
    void take(double t, double data_t) {
        DD = std::fmax(DD + 2 * t * Dd + t * t * dd, 0.0);
        Dd += t * dd;
        data = data_t;
    }
};

// Displacement p, direction d and gradient g where inner products are cheap: the recurrences of `Numbers` are left aside.
template <class T> struct Iterate {
    std::vector<T> p, d, g;
    explicit Iterate(int64_t size) : p(size, T(0)), d(size, T(0)), g(size, T(0)) {}

    // Given the data term's gradient g: all of f's, the next direction, and the line's numbers but the data term.
    ALONE void turn(bool first, Numbers &n) {
        const int64_t size = static_cast<int64_t>(p.size());
        const T inverse_lam = static_cast<T>(1 / n.lam);
        double gg = 0, dg = 0;
        for (int64_t i = 0; i < size; ++i) {
            g[i] += inverse_lam * p[i];
            gg += double(g[i]) * g[i];
            dg += double(d[i]) * g[i];
        }
        const T beta = static_cast<T>(n.turn(first, gg, dg, 0));
        n.slope = n.DD = n.Dd = n.dd = 0;
        for (int64_t i = 0; i < size; ++i) {
            d[i] = beta == 0 ? -g[i] : beta * d[i] - g[i];
            n.slope += double(g[i]) * d[i];
            n.DD += double(p[i]) * p[i];
            n.Dd += double(p[i]) * d[i];
            n.dd += double(d[i]) * d[i];
        }
    }

    // p + t d
    std::vector<T> shifted(T t) const {
        std::vector<T> there(p);
        for (size_t i = 0; i < p.size(); ++i) there[i] += t * d[i];
        return there;
    }
};

// The first of TRIALS steps that passes, or 0; a step 0 only fills up.
template <class T> double first_that_passes(const Search &search, const Numbers &n, const T *steps, const double *data) {
    for (int j = 0; j < TRIALS; ++j)
        if (steps[j] > 0 && n.passes(steps[j], data[j], search)) return steps[j];
    return 0;
}

// The steps shrink^m, m < trials, without those that the first panels alone rule out (the data term adds up terms >= 0), filled up
// with 0 to whole sets of TRIALS; look(panel, steps, sums) adds a panel's terms for a set.
template <class T, class Look>
std::vector<T> possible_steps(const Search &search, const Numbers &n, int64_t panels, Look look) {
    std::vector<T> steps;
    for (int64_t m = 0; m < search.trials; ++m) steps.push_back(static_cast<T>(std::pow(search.shrink, double(m))));
    steps.resize((steps.size() + TRIALS - 1) / TRIALS * TRIALS, T(0));
    size_t first = 0; // of the set in question; once a step of it may pass, the shorter ones after it may as well
    double partial[TRIALS] = {};
    for (int64_t p = 0; p < std::min(SCREENED, panels) && first < steps.size(); ++p)
        for (bool ruled_out = true; ruled_out && first < steps.size();) {
            look(p, steps.data() + first, partial);
            ruled_out = first_that_passes(search, n, steps.data() + first, partial) == 0;
            if (ruled_out) {
                first += TRIALS;
                std::fill_n(partial, TRIALS, 0.0);
            }
        }
    steps.erase(steps.begin(), steps.begin() + first);
    return steps;
}

} // namespace
