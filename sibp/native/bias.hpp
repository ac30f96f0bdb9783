// The bias problem: X is a column of ones, so displacement and direction are one number per neuron, and no product is needed.
#pragma once

#include "line.hpp"

namespace {

// A panel's data term at Z + shift, and for each neuron the gradient 2 sum sigma' (sigma - T) and the sum of sigma'^2.
template <class T>
double bias_look(const Shape &s, const T *ROW Z, const T *ROW target, T leak, const T *ROW shift, T *ROW gradient, T *ROW count) {
    using V = Vector<T>;
    const V one = V{} + T(1), below = V{} + leak;
    double total = 0;
    for (int half = 0; half < 2; ++half) {
        const auto *z = reinterpret_cast<const V *>(Z) + half, *aim = reinterpret_cast<const V *>(target) + half;
        V move, sum = {}, g = {}, n = {};
        std::copy_n(shift + half * LANES<T>, LANES<T>, reinterpret_cast<T *>(&move));
        for (int64_t r = 0; r < 2 * s.R; r += 2) {
            const V at = z[r] + move, slope = at > T(0) ? one : below, rest = slope * at - aim[r];
            sum += rest * rest;
            g += slope * rest;
            n += slope * slope;
        }
        for (int64_t o = 0; o < LANES<T>; ++o) {
            total += sum[o];
            gradient[half * LANES<T> + o] = 2 * g[o];
            count[half * LANES<T> + o] = n[o];
        }
    }
    return total;
}

// A panel's data term at the shifts p + t d, for TRIALS steps t; added to the sums.
template <class T>
void bias_trials(const Shape &s, const T *ROW Z, const T *ROW target, T leak, const T *ROW p, const T *ROW d, const T *t,
                 double *sums) {
    using V = Vector<T>;
    const V one = V{} + T(1), below = V{} + leak;
    for (int half = 0; half < 2; ++half) {
        const auto *z = reinterpret_cast<const V *>(Z) + half, *aim = reinterpret_cast<const V *>(target) + half;
        V move[TRIALS], sum[TRIALS] = {};
        for (int j = 0; j < TRIALS; ++j)
            for (int64_t o = 0; o < LANES<T>; ++o) move[j][o] = p[half * LANES<T> + o] + t[j] * d[half * LANES<T> + o];
        for (int64_t r = 0; r < 2 * s.R; r += 2)
            UNROLL for (int j = 0; j < TRIALS; ++j) {
                const V at = z[r] + move[j], rest = (at > T(0) ? one : below) * at - aim[r];
                sum[j] += rest * rest;
            }
        for (int j = 0; j < TRIALS; ++j)
            for (int64_t o = 0; o < LANES<T>; ++o) sums[j] += sum[j][o];
    }
}

template <class T> class BiasSolver {
  public:
    // One member: Z and target are its panels.
    BiasSolver(const Shape &shape, const Search &search, T leak, double lam, const T *Z, const T *target)
        : s{1, shape.R, shape.O, shape.width}, search(search), leak(leak), lam(lam), Z(Z), aim(target) {}

    // Add the displacement to b [O].
    void run(int64_t iterations, T *b) {
        numbers.data = look(p);
        for (int64_t k = 0; k < iterations; ++k) {
            const double bend = turn(k == 0);
            const bool moved = search.armijo ? take_armijo_step() : take_curvature_step(bend);
            if (k + 1 < iterations && (search.armijo || !moved)) numbers.data = look(p);
        }
        for (int64_t o = 0; o < s.O; ++o) b[o] += p[o];
    }

  private:
    const Shape s;
    const Search search;
    const T leak;
    const double lam;
    const T *const Z, *const aim;
    const std::vector<char> all = std::vector<char>(1, 1);
    Numbers numbers{lam};
    const int64_t neurons = s.panels() * s.width;
    std::vector<T> p = std::vector<T>(neurons, T(0)), d = p, g = p, active = p, shifted = p;

    double look(const std::vector<T> &shift) {
        double data;
        over_panels<1>(s, all, &data, [&](int64_t, int64_t panel, double *sum) {
            const int64_t at = s.at(0, panel), o = panel * s.width;
            sum[0] = bias_look(s, Z + at, aim + at, leak, shift.data() + o, g.data() + o, active.data() + o);
        });
        return data;
    }

    double turn(bool first) {
        double gg = 0, dg = 0, bend = 0;
        for (int64_t o = 0; o < s.O; ++o) {
            g[o] += p[o] / static_cast<T>(lam);
            gg += double(g[o]) * g[o];
            dg += double(d[o]) * g[o];
        }
        Numbers &n = numbers;
        const T beta = static_cast<T>(n.turn(first, gg, dg, 0));
        n.slope = n.DD = n.Dd = n.dd = 0; // their recurrences are only worth while where an inner product is dear
        for (int64_t o = 0; o < s.O; ++o) {
            d[o] = beta == 0 ? -g[o] : beta * d[o] - g[o];
            n.slope += double(g[o]) * d[o];
            n.DD += double(p[o]) * p[o];
            n.Dd += double(p[o]) * d[o];
            n.dd += double(d[o]) * d[o];
            bend += double(active[o]) * d[o] * d[o];
        }
        return bend;
    }

    void shift_by(T t) {
        for (int64_t o = 0; o < s.O; ++o) shifted[o] = p[o] + t * d[o];
    }

    // Such a step is nearly always taken: look at the gradient in the same pass.
    bool take_curvature_step(double bend) {
        double t = numbers.curvature_step(bend);
        for (int64_t halving = 0; halving <= search.trials && t > 0; ++halving, t /= 2) {
            const T tried = static_cast<T>(t);
            shift_by(tried);
            const double there = look(shifted);
            if (numbers.passes(tried, there, search)) {
                numbers.data = there;
                p.swap(shifted);
                return true;
            }
        }
        return false;
    }

    bool take_armijo_step() {
        const auto try_steps = [&](int64_t panel, const T *t, double *sum) {
            const int64_t at = s.at(0, panel), o = panel * s.width;
            bias_trials(s, Z + at, aim + at, leak, p.data() + o, d.data() + o, t, sum);
        };
        const std::vector<T> steps = possible_steps<T>(search, numbers, s.panels(), try_steps);
        for (size_t tried = 0; tried < steps.size(); tried += TRIALS) {
            double data[TRIALS];
            over_panels<TRIALS>(s, all, data, [&](int64_t, int64_t panel, double *sum) {
                try_steps(panel, steps.data() + tried, sum);
            });
            if (const double t = first_that_passes(search, numbers, steps.data() + tried, data); t > 0) {
                shift_by(static_cast<T>(t));
                p.swap(shifted);
                return true;
            }
        }
        return false;
    }
};

// Solve every member's bias problem at the panels Z and add the displacements to b [E, 1, O].
template <class T>
void move_bias(const Shape &s, const Search &search, T leak, int64_t iterations, const T *Z, const T *target, const T *lam, T *b) {
#pragma omp parallel for schedule(static) if (s.E > 1 && !s.small())
    for (int64_t e = 0; e < s.E; ++e)
        BiasSolver<T>(s, search, leak, lam[e], Z + s.at(e, 0), target + s.at(e, 0)).run(iterations, b + e * s.O);
}

} // namespace
