// A convolution's subproblems in weight space: iterates [I, O] are small, everything over the rows goes by in blocks of samples.
//
// Arrays over the rows are [S, O, span], zeros where positions mean nothing (patches.hpp). An iteration of the nonlinear solver
// is two visits of every block: image_d and the curvature in the first; Z += t image_d, the data term and the gradient in the
// second, with what lies between staying in cache.
#pragma once

#include "bias.hpp"
#include "patches.hpp"

namespace {

// One member's Z and target over positions, as the bias problem sees them; see PanelRows.
template <class T> class SpanRows {
  public:
    SpanRows(const Patches<T> &x, const Chunks &chunks, int64_t O, T leak, const T *Z, const T *target)
        : x(x), chunks(chunks), O(O), leak(leak), Z(Z), aim(target), chunk_sums(chunks.count() * 2 * O, 0.0) {}
    int64_t parts() const { return x.blocks(); }
    int64_t neurons() const { return O; }

    double look(const T *shift, T *gradient, T *active) const {
        double data;
        chunks.run<1>(&data, [&](int64_t block, int64_t chunk, double *sum) {
            over_spans(block, [&](int64_t o, int64_t at) {
                T total = 0, g = 0, n = 0;
                look_at(Z + at, aim + at, shift[o], total, g, n);
                sum[0] += total;
                chunk_sums[chunk * 2 * O + o] += 2 * double(g);
                chunk_sums[chunk * 2 * O + O + o] += n;
            });
        });
        std::vector<double> both(2 * O);
        chunks.add_up(chunk_sums, 2 * O, both.data());
        for (int64_t o = 0; o < O; ++o) {
            gradient[o] = static_cast<T>(both[o]);
            active[o] = static_cast<T>(both[O + o]);
        }
        return data;
    }

    void try_part(int64_t block, const T *p, const T *d, const T *t, double *sums) const {
        over_spans(block, [&](int64_t o, int64_t at) {
            const T shifts[] = {p[o] + t[0] * d[o], p[o] + t[1] * d[o], p[o] + t[2] * d[o], p[o] + t[3] * d[o]};
            data_at(Z + at, aim + at, shifts, sums);
        });
    }

    void try_all(const T *p, const T *d, const T *t, double *sums) const {
        chunks.run<TRIALS>(sums, [&](int64_t block, int64_t, double *sum) { try_part(block, p, d, t, sum); });
    }

  private:
    const Patches<T> &x;
    const Chunks &chunks;
    const int64_t O;
    const T leak;
    const T *const Z, *const aim;
    mutable std::vector<double> chunk_sums;

    template <class Body> void over_spans(int64_t block, Body body) const {
        for (int64_t s = x.first(block); s < x.first(block) + x.count(block); ++s)
            for (int64_t o = 0; o < O; ++o) body(o, (s * O + o) * x.span);
    }

    // A shift moves positions that mean nothing as well: leave them out.
    ALONE void look_at(const T *ROW z, const T *ROW target, T shift, T &total, T &gradient, T &active) const {
        const T *ROW real = x.mask();
        const T leak = this->leak;
        T sum = 0, g = 0, n = 0;
        SUM(omp simd reduction(+ : sum, g, n)) for (int64_t p = 0; p < x.span; ++p) {
            const T at = z[p] + shift, slope = real[p] > 0 ? slope_of(at, leak) : T(0);
            const T rest = real[p] > 0 ? activate(at, leak) - target[p] : T(0);
            sum += rest * rest;
            g += slope * rest;
            n += slope * slope;
        }
        total = sum, gradient = g, active = n;
    }

    ALONE void data_at(const T *ROW z, const T *ROW target, const T *shifts, double *sums) const {
        static_assert(TRIALS == 4, "one sum each");
        const T *ROW real = x.mask();
        const T leak = this->leak, sa = shifts[0], sb = shifts[1], sc = shifts[2], sd = shifts[3];
        T a = 0, b = 0, c = 0, d = 0;
        SUM(omp simd reduction(+ : a, b, c, d)) for (int64_t p = 0; p < x.span; ++p) {
            const T ra = activate(z[p] + sa, leak) - target[p], rb = activate(z[p] + sb, leak) - target[p];
            const T rc = activate(z[p] + sc, leak) - target[p], rd = activate(z[p] + sd, leak) - target[p];
            a += real[p] > 0 ? ra * ra : T(0);
            b += real[p] > 0 ? rb * rb : T(0);
            c += real[p] > 0 ? rc * rc : T(0);
            d += real[p] > 0 ? rd * rd : T(0);
        }
        sums[0] += a;
        sums[1] += b;
        sums[2] += c;
        sums[3] += d;
    }
};

// One member's weights; see Descent. Inner products are of vectors as small as the weights.
template <class T> class WeightSpace {
  public:
    WeightSpace(const Patches<T> &x, int64_t O, T leak, const T *Z_rows, const T *target)
        : x(x), O(O), leak(leak), Z_rows(Z_rows), target(target), memory(3 * size()) {}

    const std::vector<T> &displacement() const { return at.p; }
    SpanRows<T> rows() const { return {x, chunks, O, leak, Z, aim}; }

    double begin() {
        const int64_t rows = x.at.rows() * x.at.columns() * O;
        chunks.run<0>(nullptr, [&](int64_t block, int64_t, double *) {
            for (int64_t s = x.first(block); s < x.first(block) + x.count(block); ++s) {
                x.to_span(O, Z_rows + s * rows, Z + sample(s));
                x.to_span(O, target + s * rows, aim + sample(s));
            }
        });
        return look(0, Look::gradient);
    }

    double turn(bool first, Numbers &numbers) {
        at.turn(first, numbers);
        const std::vector<T> packed = x.packed(O, at.d.data());
        double bend;
        chunks.run<1>(&bend, [&](int64_t block, int64_t, double *sum) {
            for (int64_t s = x.first(block); s < x.first(block) + x.count(block); ++s) {
                x.image(O, s, packed, nullptr, image_d + sample(s));
                for (int64_t o = sample(s); o < sample(s + 1); o += x.span) sum[0] += bend_of(x.span, Z + o, image_d + o, leak);
            }
        });
        return bend;
    }

    double look(T t, Look want) {
        const T step = t - taken;
        taken = t;
        double data;
        chunks.run<1>(&data, [&](int64_t block, int64_t chunk, double *sum) {
            const int64_t first = sample(x.first(block)), n = x.count(block) * O * x.span;
            Buffer<T> gamma(want == Look::gradient ? n : 0);
            for (int64_t o = 0; o < n; o += x.span) {
                T *z = Z + first + o;
                const T *goal = aim + first + o;
                if (step != 0) add_multiple(x.span, step, image_d + first + o, z);
                if (want == Look::gradient)
                    sum[0] += gamma_of(x.span, z, goal, leak, gamma.data + o);
                else if (want == Look::value)
                    sum[0] += data_of(x.span, z, goal, leak);
            }
            if (want == Look::gradient) x.add_coordinates(O, block, gamma.data, gradients.data() + chunk * at.g.size());
        });
        if (want == Look::gradient) chunks.add_up(gradients, at.g.size(), at.g.data());
        return data;
    }

    void settle(T t) {
        if (t != 0) at.p = at.shifted(t);
        taken = 0;
    }

    int64_t parts() const { return x.blocks(); }

    void try_part(int64_t block, const T *t, double *sum) const {
        for (int64_t s = x.first(block); s < x.first(block) + x.count(block); ++s)
            for (int64_t o = sample(s); o < sample(s + 1); o += x.span)
                trials_of(x.span, Z + o, image_d + o, t, aim + o, leak, sum);
    }

    void try_all(const T *t, double *data) const {
        chunks.run<TRIALS>(data, [&](int64_t block, int64_t, double *sum) { try_part(block, t, sum); });
    }

  private:
    const Patches<T> &x;
    const int64_t O;
    const T leak;
    const T *const Z_rows, *const target;
    const Chunks chunks{x.blocks(), size()};
    const Buffer<T> memory; // in one piece, which the C library keeps from one solve to the next
    T *const Z = memory.data, *const aim = Z + size(), *const image_d = aim + size();
    Iterate<T> at{x.at.inputs() * O};
    std::vector<T> gradients = std::vector<T>(chunks.count() * at.p.size(), T(0)); // of every chunk
    T taken = 0;

    int64_t size() const { return x.at.B * O * x.span; }
    int64_t sample(int64_t s) const { return s * O * x.span; }
};

// One member's W-problem and the bias problem after it. Z and target [R, O]; writes the displacement P [I, O], and adds that of
// the bias to b [O] if there is one.
template <class T>
void minimise_weights(const Patches<T> &x, int64_t O, const Search &search, T leak, double lam, int64_t iterations, const T *Z,
                      const T *target, T *b, T *P) {
    WeightSpace<T> space(x, O, leak, Z, target);
    Descent<T, WeightSpace<T>>(space, search, lam).run(iterations);
    std::copy(space.displacement().begin(), space.displacement().end(), P);
    if (b) move_bias<T>(space.rows(), search, lam, iterations, O, b);
}

} // namespace
