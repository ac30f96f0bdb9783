// W += D^T X, the product that turns errors or a displacement's coordinates on the rows into weights.
#pragma once

#include "panels.hpp"

namespace {

constexpr int64_t TOGETHER = 4; // panels of X that a thread holds while those of D pass by

template <class T> class Cross {
  public:
    // D [E, R, O]; X [E, R, I], or [1, R, I] for members that share it; W [E, O, I].
    static void add(int64_t E, int64_t R, int64_t O, int64_t I, int64_t different, const T *D, const T *X, T *W) {
        const Shape left{E, R, O, WIDTH<T>}, right{different, R, I, WIDTH<T>};
        const int64_t groups = (right.panels() + TOGETHER - 1) / TOGETHER;
        Buffer<T> panels(left.size());
#pragma omp parallel if (E * O * I >= 4 * SMALL)
        {
            Buffer<T> held(TOGETHER * right.panel());
#pragma omp for schedule(static)
            for (int64_t job = 0; job < E * left.panels(); ++job)
                to_panel(left, D, job / left.panels(), job % left.panels(), panels.data + job * left.panel());
#pragma omp for schedule(static)
            for (int64_t job = 0; job < E * groups; ++job) {
                const int64_t e = job / groups, first = job % groups * TOGETHER,
                              last = std::min(first + TOGETHER, right.panels());
                for (int64_t q = first; q < last; ++q)
                    to_panel(right, X, different == 1 ? 0 : e, q, held.data + (q - first) * right.panel());
                for (int64_t p = 0; p < left.panels(); ++p)
                    for (int64_t q = first; q < last; ++q)
                        add_panels(left, right, panels.data + left.at(e, p), p, held.data + (q - first) * right.panel(), q,
                                   W + e * O * I);
            }
        }
    }

  private:
    static constexpr int STRIP = std::min<int64_t>(ROWS > 6 ? 8 : 4, WIDTH<T>); // rows of W whose sums stay in registers

    static void add_panels(const Shape &left, const Shape &right, const T *D, int64_t p, const T *X, int64_t q, T *W) {
        const int64_t rows = left.columns(p), columns = right.columns(q), I = right.O;
        for (int64_t first = 0; first < rows; first += STRIP) {
            T sums[STRIP * WIDTH<T>] __attribute__((aligned(ALIGNED)));
            multiply(left.R, D + first, X, sums);
            T *to = W + (p * WIDTH<T> + first) * I + q * WIDTH<T>;
            for (int64_t m = 0; m < std::min<int64_t>(STRIP, rows - first); ++m, to += I)
                if (columns == WIDTH<T>) // a constant number of turns is vector code without a remainder
                    for (int64_t i = 0; i < WIDTH<T>; ++i) to[i] += sums[m * WIDTH<T> + i];
                else
                    for (int64_t i = 0; i < columns; ++i) to[i] += sums[m * WIDTH<T> + i];
        }
    }

    static void multiply(int64_t R, const T *ROW D, const T *ROW X, T *ROW out) {
        Vector<T> sum[STRIP][2] = {};
        const auto *x = reinterpret_cast<const Vector<T> *>(X);
        for (int64_t r = 0; r < R; ++r, D += WIDTH<T>) {
            const Vector<T> near = x[2 * r], far = x[2 * r + 1];
        UNROLL for (int m = 0; m < STRIP; ++m) {
                sum[m][0] += D[m] * near;
                sum[m][1] += D[m] * far;
            }
        }
        auto *to = reinterpret_cast<Vector<T> *>(out);
        UNROLL for (int m = 0; m < STRIP; ++m) {
            to[2 * m] = sum[m][0];
            to[2 * m + 1] = sum[m][1];
        }
    }
};

} // namespace
