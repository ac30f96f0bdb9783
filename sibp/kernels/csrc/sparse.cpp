// A convolution's subproblems with an l1 term, by proximal gradient in weight space; the slow twin is
// sibp/solvers/proximal_gradient.py.
//
// A trial is one visit of every block: the image of the displacement, Z there, and the data term, while the block stays in cache.
// A file of its own, so that two compilations share the work.
#include "exports.hpp"
#include "weights.hpp"

namespace {

// One member's f(D) + gamma ||V + D||_1 from D = 0, or from a solution of f alone where that is lower. `Rows` give the data term
// at a displacement, which `accept` makes the present one, and at the present one its gradient and ||sigma'(Z) X g||^2.
template <class T, class Rows> class ProximalGradient {
  public:
    ProximalGradient(Rows &rows, const T *V, int64_t size, double lam, T gamma)
        : rows(rows), V(V), size(size), lam(lam), gamma(gamma), g(size), there(size, T(0)) {}

    // Writes the displacement D.
    void run(int64_t iterations, int64_t halvings, const T *smooth, T *D) {
        value = value_at(rows.data_at_zero());
        rows.accept();
        std::fill_n(D, size, T(0));
        std::copy_n(smooth, size, there.data());
        moves_to(D, rows.data_at(there.data()));
        for (int64_t k = 0; k < iterations; ++k)
            if (!descends(halvings, D)) return; // and would not from the same point again
    }

  private:
    Rows &rows;
    const T *const V;
    const int64_t size;
    const double lam;
    const T gamma;
    std::vector<T> g, there;
    double value = 0;

    // The whole objective at `there`, given the data term.
    ALONE double value_at(double data) const {
        double square = 0, norm = 0;
        for (int64_t i = 0; i < size; ++i) {
            square += double(there[i]) * there[i];
            norm += std::fabs(double(V[i] + there[i]));
        }
        return data + square / (2 * lam) + gamma * norm;
    }

    // Go to `there` if the whole objective is lower.
    bool moves_to(T *D, double data) {
        const double value_there = value_at(data);
        if (!(value_there < value)) return false;
        value = value_there;
        rows.accept();
        std::copy_n(there.data(), size, D);
        return true;
    }

    // The curvature step along -grad f, thresholded, halved until the objective falls; its bound lam where the gradient is 0.
    bool descends(int64_t halvings, T *D) {
        rows.gradient(g.data());
        double gg = 0;
        for (int64_t i = 0; i < size; ++i) {
            g[i] += D[i] / static_cast<T>(lam);
            gg += double(g[i]) * g[i];
        }
        const double bend = 2 * rows.bend(g.data()) + gg / lam;
        T t = static_cast<T>(gg == 0 ? lam : bend > 0 ? gg / bend : 0);
        if (!(t > 0)) return false;
        for (int64_t halving = 0; halving < halvings; ++halving, t /= 2) {
            for (int64_t i = 0; i < size; ++i) {
                const T at = V[i] + D[i] - t * g[i], left = std::fabs(at) - t * gamma;
                there[i] = (left > 0 ? std::copysign(left, at) : T(0)) - V[i]; // exactly -V where the weight becomes zero
            }
            if (moves_to(D, rows.data_at(there.data()))) return true;
        }
        return false;
    }
};

// The weights' displacements [I, O].
template <class T> class SparseWeights {
  public:
    const Chunks chunks;
    const T *aim, *Z;

    // Z_rows and target [R, O], at displacement 0.
    SparseWeights(const Patches<T> &x, int64_t O, T leak, const T *Z_rows, const T *target)
        : chunks{x.blocks(), x.at.B * O * x.span}, x(x), O(O), leak(leak), memory(4 * chunks.work),
          parts(chunks.count() * x.at.inputs() * O, T(0)) {
        T *const rows = memory.data, *const goal = rows + chunks.work;
        const int64_t count = x.at.rows() * x.at.columns() * O;
        visit<0>(nullptr, [&](int64_t s, double *) {
            x.to_span(O, Z_rows + s * count, rows + sample(s));
            x.to_span(O, target + s * count, goal + sample(s));
        });
        start = rows, aim = goal, here = goal + chunks.work, there = here + chunks.work, Z = here;
    }

    double data_at_zero() {
        double data;
        visit<1>(&data, [&](int64_t s, double *sum) {
            std::copy_n(start + sample(s), O * x.span, there + sample(s));
            add_data(s, sum);
        });
        return data;
    }

    double data_at(const T *D) {
        const std::vector<T> packed = x.packed(O, D);
        double data;
        visit<1>(&data, [&](int64_t s, double *sum) {
            x.image(O, s, packed, nullptr, there + sample(s));
            add_multiple(O * x.span, T(1), start + sample(s), there + sample(s));
            add_data(s, sum);
        });
        return data;
    }

    void accept() {
        std::swap(here, there);
        Z = here;
    }

    void gradient(T *g) {
        chunks.run<0>(nullptr, [&](int64_t block, int64_t chunk, double *) {
            const int64_t first = sample(x.first(block)), n = x.count(block) * O * x.span;
            Buffer<T> gamma(n);
            for (int64_t o = 0; o < n; o += x.span) gamma_of(x.span, Z + first + o, aim + first + o, leak, gamma.data + o);
            x.add_coordinates(O, block, gamma.data, parts.data() + chunk * x.at.inputs() * O);
        });
        chunks.add_up(parts, x.at.inputs() * O, g);
    }

    double bend(const T *g) const {
        const std::vector<T> packed = x.packed(O, g);
        double total;
        chunks.run<1>(&total, [&](int64_t block, int64_t, double *sum) {
            Buffer<T> image(O * x.span);
            for (int64_t s = x.first(block); s < x.first(block) + x.count(block); ++s) {
                x.image(O, s, packed, nullptr, image.data);
                for (int64_t o = 0; o < O * x.span; o += x.span)
                    sum[0] += bend_of(x.span, Z + sample(s) + o, image.data + o, leak);
            }
        });
        return total;
    }

  private:
    const Patches<T> &x;
    const int64_t O;
    const T leak;
    const Buffer<T> memory;
    std::vector<T> parts; // of the gradient, one for every chunk
    const T *start;       // Z at displacement 0
    T *here, *there;      // Z at the present displacement, and at the one that was looked at last

    int64_t sample(int64_t s) const { return s * O * x.span; }

    template <int N, class Body> void visit(double *sums, Body body) const {
        chunks.run<N>(sums, [&](int64_t block, int64_t, double *sum) {
            for (int64_t s = x.first(block); s < x.first(block) + x.count(block); ++s) body(s, sum);
        });
    }

    void add_data(int64_t s, double *sum) const {
        for (int64_t o = sample(s); o < sample(s + 1); o += x.span) sum[0] += data_of(x.span, there + o, aim + o, leak);
    }
};

// The bias's displacements [O].
template <class T> class SparseBias {
  public:
    SparseBias(const SpanRows<T> &rows) : rows(rows), here(rows.neurons()), there(here), active(here), active_there(here) {}

    double data_at_zero() { return data_at(std::vector<T>(here.size(), T(0)).data()); }
    double data_at(const T *p) { return rows.look(p, there.data(), active_there.data()); }
    void accept() {
        here.swap(there);
        active.swap(active_there);
    }
    void gradient(T *g) const { std::copy(here.begin(), here.end(), g); }
    double bend(const T *g) const {
        double total = 0;
        for (size_t o = 0; o < active.size(); ++o) total += double(active[o]) * g[o] * g[o];
        return total;
    }

  private:
    const SpanRows<T> &rows;
    std::vector<T> here, there, active, active_there; // gradients of the data term, and sums of sigma'^2
};

// One member's displacement D [I, O] of the weights V, from `smooth`, which solves the problem without the l1 term; then b [O]
// moves to the solution of its own problem there.
template <class T>
void minimise_l1(const Patches<T> &x, int64_t O, const Search &search, T leak, double lam, T gamma, int64_t iterations,
                 int64_t halvings, const T *Z, const T *target, const T *V, const T *smooth, T *b, T *D) {
    SparseWeights<T> weights(x, O, leak, Z, target);
    ProximalGradient<T, SparseWeights<T>>(weights, V, x.at.inputs() * O, lam, gamma).run(iterations, halvings, smooth, D);
    if (!b) return;
    const SpanRows<T> rows(x, weights.chunks, O, leak, weights.Z, weights.aim);
    std::vector<T> without(O, T(0)), move(O, T(0));
    move_bias<T>(rows, search, lam, iterations, O, without.data());
    SparseBias<T> bias(rows);
    ProximalGradient<T, SparseBias<T>>(bias, b, O, lam, gamma).run(iterations, halvings, without.data(), move.data());
    for (int64_t o = 0; o < O; ++o) b[o] += move[o];
}

} // namespace

#define EXPORTS(T, suffix)                                                                                                       \
    EXPORT void minimise_l1_##suffix(IMAGES(T), const T *Z, const T *target, const T *V, const T *smooth, const T *lam,          \
                                     const T *gamma, T *b, T *D, int64_t iterations, int64_t halvings, SEARCH, double leak) {    \
        const Geometry geometry{B, C, H, W, kh, kw, ph, pw};                                                                     \
        const int64_t stride[] = {S > 1 ? of_member : 0, of_sample, of_channel, of_row, of_column};                              \
        const Search search{armijo != 0, sigma, shrink, trials};                                                                 \
        over_members<T>(geometry, E, images, stride, [&](int64_t e, const Patches<T> &x) {                                       \
            const int64_t rows = e * R * O, inputs = e * I * O;                                                                  \
            minimise_l1<T>(x, O, search, static_cast<T>(leak), lam[e], gamma[e], iterations, halvings, Z + rows, target + rows,  \
                           V + inputs, smooth + inputs, b ? b + e * O : nullptr, D + inputs);                                    \
        });                                                                                                                      \
    }

EXPORTS(float, f32)
EXPORTS(double, f64)
