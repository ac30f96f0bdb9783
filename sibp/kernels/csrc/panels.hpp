// Vectors, panels, the product of K with a panel, and K itself.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "team.hpp"

namespace {

#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 13; // of a vector register; rows of K whose products stay in registers
#elif defined(__AVX__)
constexpr int BYTES = 32, ROWS = 6;
#elif defined(__aarch64__)
constexpr int BYTES = 16, ROWS = 12;
#else
constexpr int BYTES = 16, ROWS = 6;
#endif
constexpr int64_t SMALL = 1 << 14; // below this many elements threads cost more than they bring
constexpr int64_t ALIGNED = 64;

template <class T> struct Lanes {
    typedef T type __attribute__((vector_size(BYTES), may_alias));
};
template <class T> using Vector = typename Lanes<T>::type;
template <class T> constexpr int64_t LANES = BYTES / sizeof(T);
template <class T> constexpr int64_t WIDTH = 2 * LANES<T>;

// The sum of N lanes: half onto half, down to 16 bytes.
template <class T, int N, class V> T total_of(const V &v) {
    if constexpr (N * sizeof(T) <= 16) {
        T total = v[0];
        for (int n = 1; n < N; ++n) total += v[n];
        return total;
    } else {
        typedef T Half __attribute__((vector_size(N / 2 * sizeof(T)), may_alias));
        Half halves[2];
        std::memcpy(halves, &v, sizeof(halves));
        return total_of<T, N / 2>(halves[0] + halves[1]);
    }
}

#define ROW __restrict
#define SIMD _Pragma("omp simd")
#define SUM(...) _Pragma(#__VA_ARGS__)
#define UNROLL _Pragma("GCC unroll 16")
// A function that adds up lanes is compiled by itself, so that its sums keep their order, and results their last bits, whatever
// code stands around it.
#define ALONE __attribute__((noinline))
// Keep a vector that several products need in a register: the compiler would load it from memory for each of them.
#if defined(__x86_64__)
#define HOLD(v) asm("" : "+v"(v))
#elif defined(__aarch64__)
#define HOLD(v) asm("" : "+w"(v))
#else
#define HOLD(v)
#endif

struct Shape {
    int64_t E, R, O, width;
    int64_t panels() const { return (O + width - 1) / width; }
    int64_t panel() const { return R * width; }             // elements of a panel
    int64_t size() const { return E * panels() * panel(); } // elements of an array in panels
    int64_t at(int64_t e, int64_t p) const { return (e * panels() + p) * panel(); }
    int64_t columns(int64_t p) const { return std::min(width, O - p * width); }
    int64_t group() const { return (R + blocks() - 1) / blocks(); } // rows of K in a block, see Gram
    int64_t blocks() const { return (R + ROWS - 1) / ROWS; }
    int64_t packed() const { return blocks() * group() * R; } // elements of a packed K
    bool small() const { return E * R * O < SMALL; }
};

template <class T> class Buffer {
  public:
    explicit Buffer(int64_t size) : data(static_cast<T *>(::operator new(size * sizeof(T), std::align_val_t(ALIGNED)))) {}
    ~Buffer() { ::operator delete(data, std::align_val_t(ALIGNED)); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    T *const data;
};

// Memory for one call's work. It stays with its thread for the next call, unless it is large, or lent to somebody who still has
// it: fresh memory would cost a third of a small layer's solve.
template <class T> class Scratch {
  public:
    explicit Scratch(int64_t size)
        : lender(size > MOST_KEPT || thread_memory().is_lent ? nullptr : &thread_memory()), own(lender ? 0 : size),
          data(lender ? lender->lend(size) : own.data) {}
    ~Scratch() {
        if (lender) lender->is_lent = false;
    }
    Scratch(const Scratch &) = delete;
    Scratch &operator=(const Scratch &) = delete;

  private:
    static constexpr int64_t MOST_KEPT = (16 << 20) / sizeof(T);

    struct Memory {
        std::unique_ptr<Buffer<T>> buffer;
        int64_t size = 0;
        bool is_lent = false;

        T *lend(int64_t wanted) {
            if (wanted > size) {
                buffer.reset();
                size = 0; // should there be no memory
                buffer = std::make_unique<Buffer<T>>(wanted);
                size = wanted;
            }
            is_lent = true;
            return buffer->data;
        }
    };

    static Memory &thread_memory() {
        static thread_local Memory memory;
        return memory;
    }

    Memory *const lender;
    const Buffer<T> own;

  public:
    T *const data;
};

// Run body(panel, sums) over one member's panels, in parallel, and add up each panel's N sums in order.
template <int N, class Body> void over_panels(const Shape &s, double *sums, Body body) {
    const int64_t panels = s.panels();
    std::vector<double> parts(static_cast<size_t>(panels * (N ? N : 1)), 0.0);
    double *part = parts.data();
    Team::each(panels, !s.small(), false, [&](int64_t p) { body(p, part + p * N); });
    for (int n = 0; n < N; ++n) {
        double sum = 0;
        for (int64_t p = 0; p < panels; ++p) sum += part[p * N + n];
        sums[n] = sum;
    }
}

template <class T> void to_panel(const Shape &s, const T *ROW from, int64_t e, int64_t p, T *ROW to) {
    const int64_t n = s.columns(p);
    for (int64_t r = 0; r < s.R; ++r, to += s.width) {
        std::copy_n(from + (e * s.R + r) * s.O + p * s.width, n, to);
        std::fill(to + n, to + s.width, T(0));
    }
}

template <class T> void from_panel(const Shape &s, const T *ROW from, int64_t e, int64_t p, T *ROW to) {
    for (int64_t r = 0; r < s.R; ++r, from += s.width) std::copy_n(from, s.columns(p), to + (e * s.R + r) * s.O + p * s.width);
}

// K = X X^T (+ 1 if joint) of one member, X [R, I], for the products below: in blocks of M rows, each stored column by column,
// zeros below the last row, so that what a block needs next is always the next M numbers.
template <class T> class Gram {
  public:
    Gram(const Shape &s, int64_t I, bool joint, const T *X, T *packed)
        : s(s), I(I), whole(I / LANES<T>), X(X), packed(packed), rest(s.R * LANES<T>) {
        for (int64_t r = 0; r < s.R; ++r) { // the end of a row, filled up with zeros to a vector
            std::fill_n(rest.data + r * LANES<T>, LANES<T>, T(0));
            std::copy_n(X + r * I + whole * LANES<T>, I - whole * LANES<T>, rest.data + r * LANES<T>);
        }
        std::fill_n(packed, s.packed(), T(0));
        for (int64_t i = 0; joint && i < s.R; ++i)
            for (int64_t j = 0; j < s.R; ++j) at(i, j) = 1;
    }

    // Add up the squares of SQUARE x SQUARE entries on and below the diagonal; each entry is the work of one thread.
    void run() {
        const int64_t squares = (s.R + SQUARE - 1) / SQUARE;
        for (int64_t first = 0; first == 0 || first < whole; first += CHUNK) {
            const int64_t last = std::min(whole, first + CHUNK);
            Team::each(squares, s.R * I >= 4 * SMALL, true, [&](int64_t i) {
                for (int64_t j = 0; j <= i; ++j) add(i * SQUARE, j * SQUARE, first, last);
            });
        }
    }

  private:
    static constexpr int SQUARE = ROWS > 6 ? 5 : 3; // SQUARE^2 sums and SQUARE + 1 vectors fit the registers
    static constexpr int64_t CHUNK = 4096 / BYTES;  // vectors of a row; those of two squares fit the nearest cache
    const Shape &s;
    const int64_t I, whole;
    const T *const X;
    T *const packed;
    Buffer<T> rest;

    T &at(int64_t i, int64_t j) const { return packed[i / s.group() * s.group() * s.R + j * s.group() + i % s.group()]; }

    ALONE void add(int64_t i, int64_t j, int64_t first, int64_t last) const {
        Vector<T> sum[SQUARE][SQUARE] = {};
        const T *left[SQUARE], *right[SQUARE];
        for (int n = 0; n < SQUARE; ++n) { // beyond the last row, the last one again
            left[n] = X + std::min(i + n, s.R - 1) * I;
            right[n] = X + std::min(j + n, s.R - 1) * I;
        }
        for (int64_t c = first; c < last; ++c) add_vectors(left, right, c, sum);
        if (last == whole) {
            for (int n = 0; n < SQUARE; ++n) {
                left[n] = rest.data + std::min(i + n, s.R - 1) * LANES<T>;
                right[n] = rest.data + std::min(j + n, s.R - 1) * LANES<T>;
            }
            add_vectors(left, right, 0, sum);
        }
        for (int m = 0; m < SQUARE && i + m < s.R; ++m)
            for (int n = 0; n < SQUARE && j + n <= i + m; ++n) {
                T total = 0;
                for (int64_t o = 0; o < LANES<T>; ++o) total += sum[m][n][o];
                at(i + m, j + n) += total;
                if (i + m != j + n) at(j + n, i + m) = at(i + m, j + n);
            }
    }

    static void add_vectors(const T *const *left, const T *const *right, int64_t c, Vector<T> (&sum)[SQUARE][SQUARE]) {
        Vector<T> b[SQUARE];
        UNROLL for (int n = 0; n < SQUARE; ++n) b[n] = load(right[n], c);
        UNROLL for (int m = 0; m < SQUARE; ++m) {
            const Vector<T> a = load(left[m], c);
            UNROLL for (int n = 0; n < SQUARE; ++n) sum[m][n] += a * b[n];
        }
    }

    static Vector<T> load(const T *row, int64_t c) {
        Vector<T> v;
        std::memcpy(&v, row + c * LANES<T>, BYTES); // a row need not be aligned
        return v;
    }
};

// K of every member; X is [E, R, I], or [1, R, I] for members that share it.
template <class T> void gram(const Shape &s, int64_t I, int64_t different, bool joint, const T *X, T *packed) {
    for (int64_t e = 0; e < s.E; ++e)
        if (e < different)
            Gram<T>(s, I, joint, X + e * s.R * I, packed + e * s.packed()).run();
        else
            std::copy_n(packed, s.packed(), packed + e * s.packed());
}

template <class T, int M> void product_block(int64_t R, const T *ROW K, const T *ROW panel, T *ROW out, int64_t rows) {
    Vector<T> sum[M][2] = {};
    const auto *b = reinterpret_cast<const Vector<T> *>(panel);
    for (int64_t c = 0; c < R; ++c, K += M) {
        const Vector<T> left = b[2 * c], right = b[2 * c + 1];
        UNROLL for (int m = 0; m < M; ++m) {
            sum[m][0] += K[m] * left;
            sum[m][1] += K[m] * right;
        }
    }
    auto *to = reinterpret_cast<Vector<T> *>(out);
    UNROLL for (int m = 0; m < M; ++m)
        if (m < rows) {
            to[2 * m] = sum[m][0];
            to[2 * m + 1] = sum[m][1];
        }
}

template <class T, int M> void product_rows(const Shape &s, const T *packed, const T *panel, T *out) {
    if (s.group() == M)
        for (int64_t first = 0; first < s.R; first += M)
            product_block<T, M>(s.R, packed + first * s.R, panel, out + first * s.width, s.R - first);
    else if constexpr (M > 1)
        product_rows<T, M - 1>(s, packed, panel, out);
}

// out = K panel, for a panel [R, W] and K as `Gram` leaves it.
template <class T> void product(const Shape &s, const T *packed, const T *panel, T *out) {
    product_rows<T, ROWS>(s, packed, panel, out);
}

} // namespace
