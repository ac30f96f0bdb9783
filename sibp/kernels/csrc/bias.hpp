// The bias problem: X is a column of ones, so displacement and direction are one number per neuron, and no product is needed.
#pragma once

#include "descent.hpp"

namespace {

// A panel's data term at Z + shift, and for each neuron the gradient 2 sum sigma' (sigma - T) and the sum of sigma'^2.
template <class T>
ALONE double bias_look(const Shape &s, const T *ROW Z, const T *ROW target, T leak, const T *ROW shift,
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
ALONE void bias_trials(const Shape &s, const T *ROW Z, const T *ROW target, T leak, const T *ROW p,
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
    PanelRows(const Shape &shape, T leak, const T *Z, const T *target) : s(shape), leak(leak), Z(Z), aim(target) {}
    int64_t parts() const { return s.panels(); }
    int64_t neurons() const { return s.panels() * s.width; }

    // The data term at Z + shift, the gradient in the shift, and for each neuron the sum of sigma'^2.
    double look(const T *shift, T *gradient, T *active) const {
        double data;
        over_panels<1>(s, &data, [&](int64_t panel, double *sum) {
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
        over_panels<TRIALS>(s, sums, [&](int64_t panel, double *sum) { try_part(panel, p, d, t, sum); });
    }

  private:
    const Shape s;
    const T leak;
    const T *const Z, *const aim;
};

// One member's bias on `Rows`: `PanelRows`, or what else looks like it; see Descent.
template <class T, class Rows> class BiasSpace {
  public:
    explicit BiasSpace(const Rows &rows) : rows(rows) {}
    const std::vector<T> &displacement() const { return at.p; }

    double begin() { return look_at(at.p); }

    double turn(bool first, Numbers &numbers) {
        at.turn(first, numbers);
        return bend();
    }

    double look(T t, Look want) {
        there = t != 0 ? at.shifted(t) : at.p;
        return want == Look::go ? 0 : look_at(there);
    }

    void settle(T) { at.p.swap(there); }
    int64_t parts() const { return rows.parts(); }
    void try_part(int64_t part, const T *t, double *sums) const { rows.try_part(part, at.p.data(), at.d.data(), t, sums); }
    void try_all(const T *t, double *sums) const { rows.try_all(at.p.data(), at.d.data(), t, sums); }

  private:
    const Rows &rows;
    Iterate<T> at{rows.neurons()};
    std::vector<T> there, active = at.p; // active: the sum of sigma'^2 of every neuron

    ALONE double bend() const {
        double bend = 0;
        for (size_t o = 0; o < active.size(); ++o) bend += double(active[o]) * at.d[o] * at.d[o];
        return bend;
    }

    double look_at(const std::vector<T> &shift) { return rows.look(shift.data(), at.g.data(), active.data()); }
};

// Solve one member's bias problem and add the displacement to b [O].
template <class T, class Rows>
void move_bias(const Rows &rows, const Search &search, double lam, int64_t iterations, int64_t O, T *b) {
    BiasSpace<T, Rows> space(rows);
    Descent<T, BiasSpace<T, Rows>>(space, search, lam).run(iterations);
    for (int64_t o = 0; o < O; ++o) b[o] += space.displacement()[o];
}

} // namespace
