// A dense layer's subproblems in batch space: p, d and g are coordinates S [R, O] of X^T S, their images K S.
#pragma once

#include "bias.hpp"

namespace {

// The next `size` elements of a piece of memory, from an aligned address on.
template <class T> T *take(T *&memory, int64_t size) {
    T *here = reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(memory) + ALIGNED - 1) / ALIGNED * ALIGNED);
    memory = here + size;
    return here;
}

// One member's weights; see Descent. Inner products come by recurrence from those with K g.
template <class T> class BatchSpace {
  public:
    static int64_t memory(const Shape &s) { return 7 * (s.size() + ALIGNED); }

    BatchSpace(const Shape &shape, T leak, double lam, const T *packed, const T *Z_rows, const T *target, T *memory)
        : s(shape), leak(leak), inverse_lam(static_cast<T>(1 / lam)), packed(packed), Z_rows(Z_rows), target(target) {
        for (T **array : {&Z, &aim, &P, &g, &image_g, &d, &image_d}) *array = take(memory, s.size());
    }

    double begin() {
        over_panels<4>(s, sums, [&](int64_t p, double *sum) {
            const int64_t at = s.at(0, p);
            to_panel(s, Z_rows, 0, p, Z + at);
            to_panel(s, target, 0, p, aim + at);
            std::fill_n(P + at, s.panel(), T(0));
            look_at(at, true, sum);
        });
        return sums[0];
    }

    double turn(bool first, Numbers &numbers) {
        const T beta = static_cast<T>(numbers.turn(first, std::fmax(sums[1], 0.0), sums[2], sums[3]));
        double bend;
        over_panels<1>(s, &bend, [&](int64_t p, double *sum) {
            const int64_t at = s.at(0, p);
            sum[0] += direction_of(s.panel(), beta, g + at, image_g + at, Z + at, leak, d + at, image_d + at);
        });
        return bend;
    }

    double look(T t, Look want) {
        const T step = t - taken;
        taken = t;
        over_panels<4>(s, sums, [&](int64_t p, double *sum) {
            const int64_t at = s.at(0, p);
            if (step != 0) add_to(s.panel(), step, d + at, P + at, image_d + at, Z + at);
            if (want == Look::gradient)
                look_at(at, false, sum);
            else if (want == Look::value)
                sum[0] += data_of(s.panel(), Z + at, aim + at, leak);
        });
        return sums[0];
    }

    void settle(T) { taken = 0; }
    int64_t parts() const { return s.panels(); }

    void try_part(int64_t p, const T *t, double *sum) const {
        const int64_t at = s.at(0, p);
        trials_of(s.panel(), Z + at, image_d + at, t, aim + at, leak, sum);
    }

    void try_all(const T *t, double *data) const {
        over_panels<TRIALS>(s, data, [&](int64_t p, double *sum) { try_part(p, t, sum); });
    }

    // Write the pre-activation and the displacement's coordinates, both [R, O].
    void write(T *Z_end, T *S) const {
        over_panels<0>(s, nullptr, [&](int64_t p, double *) {
            from_panel(s, P + s.at(0, p), 0, p, S);
            from_panel(s, Z + s.at(0, p), 0, p, Z_end);
        });
    }

    PanelRows<T> rows() const { return {s, leak, Z, aim}; }

  private:
    const Shape s;
    const T leak, inverse_lam;
    const T *const packed, *const Z_rows, *const target;
    T *Z, *aim, *P, *g, *image_g, *d, *image_d, taken = 0;
    double sums[4]; // the data term, <g, image_g>, <d, image_g> and <P, image_g>

    // The gradient at a panel's Z, its image, and the sums that the next direction needs.
    void look_at(int64_t at, bool first, double *sum) {
        sum[0] += gradient_of(s.panel(), Z + at, aim + at, leak, inverse_lam, P + at, g + at);
        product(s, packed, g + at, image_g + at);
        inner_of(s.panel(), image_g + at, g + at, d + at, P + at, first, sum + 1);
    }
};

// Every member's W-problem and then its bias problem. A member is solved whole before the next one, in the memory that it has
// left in cache: members share the threads out where there are as many of them, and otherwise the threads share each member's
// panels.
template <class T>
void minimise_batch(int64_t E, const Shape &s, const Search &search, T leak, int64_t iterations, int64_t I, bool shared,
                    const T *X, const T *target, const T *lam, T *b, T *Z, T *P) {
    const int64_t rows = s.R * s.O, threads = omp_get_max_threads();
    const Buffer<T> K(shared ? s.packed() : 0);
    if (shared) Gram<T>(s, I, false, X, K.data).run();
    Team::each(E, threads > 1 && E >= threads && E * s.R * (s.O + I) >= SMALL, true, [&](int64_t e) {
        const Scratch<T> memory(s.packed() + ALIGNED + BatchSpace<T>::memory(s));
        T *free = memory.data, *const own = take(free, shared ? 0 : s.packed());
        if (!shared) Gram<T>(s, I, false, X + e * s.R * I, own).run();
        BatchSpace<T> space(s, leak, lam[e], shared ? K.data : own, Z + e * rows, target + e * rows, free);
        Descent<T, BatchSpace<T>>(space, search, lam[e]).run(iterations);
        space.write(Z + e * rows, P + e * rows);
        if (b) move_bias<T>(space.rows(), search, lam[e], iterations, s.O, b + e * s.O);
    });
}

} // namespace
