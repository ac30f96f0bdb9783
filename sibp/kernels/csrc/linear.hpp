// Linear conjugate gradients on ||X D + R||^2 + 1/(2 lam) ||D||^2, one per neuron.
#pragma once

#include <utility>

#include "patches.hpp"

namespace {

// In batch space a panel's neurons are solved from start to end in one visit.

template <class T> struct LinearPanel {
    static constexpr int64_t W = WIDTH<T>;
    T *ROW r, *ROW image_r, *ROW d, *ROW image_d, *ROW D;
    T rr[W], least[W];

    // Given the residual r and its image: rr = <r, image_r>, beta = rr / rr_old, d = r + beta d,
    // t = rr / <image_d, image_d + mu d>, D += t d, r -= t (image_d + mu d). A neuron at or below its floor stays.
    void step(int64_t R, bool first, T tolerance, T mu) {
        T fresh[W] = {}, beta[W], bend[W] = {}, t[W];
        for (int64_t i = 0; i < R * W; i += W) SIMD for (int64_t o = 0; o < W; ++o) fresh[o] += r[i + o] * image_r[i + o];
        for (int64_t o = 0; o < W; ++o) {
            fresh[o] = fresh[o] > 0 ? fresh[o] : 0; // K may be nearly singular
            if (first) least[o] = tolerance * tolerance * fresh[o];
            beta[o] = !first && rr[o] > 0 ? fresh[o] / rr[o] : 0;
            rr[o] = fresh[o];
        }
        for (int64_t i = 0; i < R * W; i += W)
            SIMD for (int64_t o = 0; o < W; ++o) {
                d[i + o] = r[i + o] + beta[o] * d[i + o];
                image_d[i + o] = image_r[i + o] + beta[o] * image_d[i + o];
                bend[o] += image_d[i + o] * (image_d[i + o] + mu * d[i + o]);
            }
        for (int64_t o = 0; o < W; ++o) t[o] = bend[o] > 0 && fresh[o] > least[o] ? fresh[o] / bend[o] : 0;
        for (int64_t i = 0; i < R * W; i += W)
            SIMD for (int64_t o = 0; o < W; ++o) {
                D[i + o] += t[o] * d[i + o];
                r[i + o] -= t[o] * (image_d[i + o] + mu * d[i + o]);
            }
    }
};

// Coordinates of D = argmin ||X D + residual||^2 + 1/(2 lam) ||D||^2 for every neuron.
template <class T>
void solve_linear(const Shape &s, int64_t iterations, int64_t I, int64_t different, bool joint, const T *X, const T *residual,
                  const T *lam, const T *tolerance, T *result) {
    Buffer<T> packed(s.E * s.packed());
    gram(s, I, different, joint, X, packed.data);
#pragma omp parallel if (!s.small())
    {
        Buffer<T> memory(5 * s.panel());
        const auto array = [&](int n) { return memory.data + n * s.panel(); };
        LinearPanel<T> panel{array(0), array(1), array(2), array(3), array(4), {}, {}};
#pragma omp for schedule(static)
        for (int64_t job = 0; job < s.E * s.panels(); ++job) {
            const int64_t e = job / s.panels(), p = job % s.panels();
            to_panel(s, residual, e, p, panel.r);
            for (int64_t i = 0; i < s.panel(); ++i) panel.r[i] = -panel.r[i];
            std::fill(panel.d, panel.d + s.panel(), T(0));
            std::fill(panel.image_d, panel.image_d + s.panel(), T(0));
            std::fill(panel.D, panel.D + s.panel(), T(0));
            for (int64_t k = 0; k < iterations; ++k) {
                product(s, packed.data + e * s.packed(), panel.r, panel.image_r);
                panel.step(s.R, k == 0, tolerance[e], 1 / (2 * lam[e]));
            }
            from_panel(s, panel.D, e, p, result);
        }
    }
}

// In weight space, one member of a convolution: an iteration is one visit of every block, whose image_d is used up at once.
template <class T> class LinearWeights {
  public:
    LinearWeights(const Patches<T> &x, int64_t O, bool joint, T mu, T tolerance)
        : x(x), O(O), inputs(x.at.inputs()), joint(joint), mu(mu), tolerance(tolerance), r(size()), d(size(), T(0)), q(size()),
          parts(chunks.count() * size(), T(0)), bends(chunks.count() * O, 0.0), bend(O) {}

    // residual [R, O]; writes D [I, O], or [I + 1, O] with the bias.
    void run(int64_t iterations, const T *residual, T *D) {
        const int64_t rows = x.at.rows() * x.at.columns() * O;
        visit(true, [&](int64_t sample, T *to) { x.to_span(O, residual + sample * rows, to); });
        for (int64_t i = 0; i < size(); ++i) r[i] = -q[i];
        std::fill_n(D, size(), T(0));
        std::vector<T> least, rr(O), t(O);
        for (int64_t k = 0; k < iterations; ++k) {
            const std::vector<T> old = rr;
            rr = squares(r);
            if (k == 0)
                for (const T first : rr) least.push_back(tolerance * tolerance * first);
            for (int64_t i = 0; i < size(); ++i) {
                const int64_t o = i % O;
                d[i] = r[i] + (k > 0 && old[o] > 0 ? rr[o] / old[o] : T(0)) * d[i];
            }
            const std::vector<T> packed = x.packed(O, d.data()), dd = squares(d);
            const T *shift = joint ? d.data() + inputs * O : nullptr;
            visit(k + 1 < iterations, [&](int64_t sample, T *to) { x.image(O, sample, packed, shift, to); });
            for (int64_t o = 0; o < O; ++o) {
                const T all = static_cast<T>(bend[o]) + mu * dd[o];
                t[o] = all > 0 && rr[o] > least[o] ? rr[o] / all : 0;
            }
            for (int64_t i = 0; i < size(); ++i) {
                D[i] += t[i % O] * d[i];
                r[i] -= t[i % O] * (q[i] + mu * d[i]);
            }
        }
    }

  private:
    const Patches<T> &x;
    const int64_t O, inputs;
    const bool joint;
    const T mu, tolerance;
    const Chunks chunks{x.blocks(), x.at.B * O * x.span};
    std::vector<T> r, d, q, parts;
    std::vector<double> bends, bend; // ||image||^2 of every neuron

    int64_t size() const { return (inputs + joint) * O; }

    ALONE std::vector<T> squares(const std::vector<T> &a) const {
        std::vector<T> sum(O, T(0));
        for (int64_t i = 0; i < size(); ++i) sum[i % O] += a[i] * a[i];
        return sum;
    }

    // The sum of n numbers, and of their squares.
    ALONE static std::pair<T, T> moments_of(int64_t n, const T *v) {
        T sum = 0, square = 0;
        SUM(omp simd reduction(+ : sum, square)) for (int64_t p = 0; p < n; ++p) {
            sum += v[p];
            square += v[p] * v[p];
        }
        return {sum, square};
    }

    // For the array [S, O, span] that `fill` makes sample by sample: the squares of every neuron and, if asked for, q = X^T array.
    template <class Fill> void visit(bool back, Fill fill) {
        chunks.run<0>(nullptr, [&](int64_t block, int64_t chunk, double *) {
            Buffer<T> image(x.count(block) * O * x.span);
            T *part = parts.data() + chunk * size();
            for (int64_t s = 0; s < x.count(block); ++s) fill(x.first(block) + s, image.data + s * O * x.span);
            for (int64_t n = 0; n < x.count(block) * O; ++n) {
                const auto [sum, square] = moments_of(x.span, image.data + n * x.span);
                bends[chunk * O + n % O] += square;
                if (joint) part[inputs * O + n % O] += sum;
            }
            if (back) x.add_coordinates(O, block, image.data, part);
        });
        chunks.add_up(bends, O, bend.data());
        chunks.add_up(parts, size(), q.data());
    }
};

} // namespace
