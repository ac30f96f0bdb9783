// The bias problem: X is a column of ones, so displacement and direction are one number per neuron, and no product is needed.
#pragma once

#include "line.hpp"

namespace {

// A panel's data term at Z + shift, and for each neuron the gradient 2 sum sigma' (sigma - T) and the sum of sigma'^2.
template <class T>
double bias_look(const Shape &s, const T *ROW Z, const T *ROW target, T leak, const T *ROW shift,
                 T *ROW gradient, T *ROW count) {
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
void bias_trials(const Shape &s, const T *ROW Z, const T *ROW target, T leak, const T *ROW p,
                 const T *ROW d, const T *t, double *sums) {
    using V = Vector<T>;
    const V one = V{} + T(1), below = V{} + leak;
    for (int half = 0; half < 2; ++half) {
        const auto *z = reinterpret_cast<const V *>(Z) + half, *aim = reinterpret_cast<const V *>(target) + half;
        V move[TRIALS], sum[TRIALS] = {};
        for (int j = 0; j < TRIALS; ++j)
            for (int64_t o = 0; o < LANES<T>; ++o) move[j][o] = p[half * LANES<T> + o] + t[j] * d[half * LANES<T> + o];
        for (int64_t r = 0; r < 2 * s.R; r += 2) UNROLL for (int j = 0; j < TRIALS; ++j) {
                const V at = z[r] + move[j], rest = (at > T(0) ? one : below) * at - aim[r];
                sum[j] += rest * rest;
            }
        for (int j = 0; j < TRIALS; ++j)
            for (int64_t o = 0; o < LANES<T>; ++o) sums[j] += sum[j][o];
    }
}

// One member's Z and target in panels, as the bias problem sees them.
template <class T> class PanelRows {
  public:
    PanelRows(const Shape &shape, T leak, const T *Z, const T *target)
        : s{1, shape.R, shape.O, shape.width}, leak(leak), Z(Z), aim(target) {}
    int64_t parts() const { return s.panels(); }
    int64_t neurons() const { return s.panels() * s.width; }

    // The data term at Z + shift, the gradient in the shift, and for each neuron the sum of sigma'^2.
    double look(const T *shift, T *gradient, T *active) const {
        double data;
        over_panels<1>(s, all, &data, [&](int64_t, int64_t panel, double *sum) {
            const int64_t at = s.at(0, panel), o = panel * s.width;
            sum[0] = bias_look(s, Z + at, aim + at, leak, shift + o, gradient + o, active + o);
        });
        return data;
    }

    // Add a part's data terms at the shifts p + t d for TRIALS steps.
    void try_part(int64_t panel, const T *p, const T *d, const T *t, double *sums) const {
        const int64_t at = s.at(0, panel), o = panel * s.width;
        bias_trials(s, Z + at, aim + at, leak, p + o, d + o, t, sums);
    }

    void try_all(const T *p, const T *d, const T *t, double *sums) const {
        over_panels<TRIALS>(s, all, sums, [&](int64_t, int64_t panel, double *sum) { try_part(panel, p, d, t, sum); });
    }

  private:
    const Shape s;
    const T leak;
    const T *const Z, *const aim;
    const std::vector<char> all = std::vector<char>(1, 1);
};

// One member's bias problem on `Rows`: `PanelRows`, or what else looks like it.
template <class T, class Rows> class BiasSolver {
  public:
    BiasSolver(const Rows &rows, const Search &search, double lam) : rows(rows), search(search), numbers{lam} {}

    // Add the displacement to b [O].
    void run(int64_t iterations, int64_t O, T *b) {
        numbers.data = look(at.p);
        for (int64_t k = 0; k < iterations; ++k) {
            at.turn(k == 0, numbers);
            const bool moved = search.armijo ? take_armijo_step() : take_curvature_step();
            if (k + 1 < iterations && (search.armijo || !moved)) numbers.data = look(at.p);
        }
        for (int64_t o = 0; o < O; ++o) b[o] += at.p[o];
    }

  private:
    const Rows &rows;
    const Search search;
    Numbers numbers;
    Iterate<T> at{rows.neurons()};
    std::vector<T> active = at.p;

    double look(const std::vector<T> &shift) { return rows.look(shift.data(), at.g.data(), active.data()); }

    // Such a step is nearly always taken: look at the gradient in the same pass.
    bool take_curvature_step() {
        double bend = 0;
        for (size_t o = 0; o < active.size(); ++o) bend += double(active[o]) * at.d[o] * at.d[o];
        double t = numbers.curvature_step(bend);
        for (int64_t halving = 0; halving <= search.trials && t > 0; ++halving, t /= 2) {
            const T tried = static_cast<T>(t);
            std::vector<T> there = at.shifted(tried);
            const double data = look(there);
            if (numbers.passes(tried, data, search)) {
                numbers.data = data;
                at.p.swap(there);
                return true;
            }
        }
        return false;
    }

    bool take_armijo_step() {
        const auto try_part = [&](int64_t part, const T *t, double *sum) {
            rows.try_part(part, at.p.data(), at.d.data(), t, sum);
        };
        const std::vector<T> steps = possible_steps<T>(search, numbers, rows.parts(), try_part);
        for (size_t tried = 0; tried < steps.size(); tried += TRIALS) {
            double data[TRIALS];
            rows.try_all(at.p.data(), at.d.data(), steps.data() + tried, data);
            if (const double t = first_that_passes(search, numbers, steps.data() + tried, data); t > 0) {
                at.p = at.shifted(static_cast<T>(t));
                return true;
            }
        }
        return false;
    }
};

// Solve every member's bias problem at the panels Z and add the displacements to b [E, 1, O].
template <class T>
void move_bias(const Shape &s, const Search &search, T leak, int64_t iterations, const T *Z, const T *target, const T *lam, T *b) {
    Team::each(s.E, s.E > 1 && !s.small(), true, [&](int64_t e) {
        const PanelRows<T> rows(s, leak, Z + s.at(e, 0), target + s.at(e, 0));
        BiasSolver<T, PanelRows<T>>(rows, search, lam[e]).run(iterations, s.O, b + e * s.O);
    });
}

} // namespace
