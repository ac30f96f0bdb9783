// The two products with a convolution's rows, straight from its images: no patch is ever unfolded.
//
// Letters: I one input of a patch (channel, row and column of the kernel), O neuron, S sample.
// A member's images are kept with their borders of zeros. An output position is numbered as the patch's corner in the image with
// borders, so input i of the patches at consecutive positions is the consecutive numbers from offset[i] on, whatever i is. The
// price is positions between two rows of the output that mean nothing; whoever fills an array over positions keeps zeros there.
#pragma once

#include "panels.hpp"

namespace {

constexpr int NEURONS = ROWS > 6 ? 12 : 6; // whose sums for two vectors of positions stay in registers
constexpr int TILE = ROWS > 6 ? 5 : 3;     // inputs, and neurons, whose sums of products stay in registers
constexpr int64_t LONG = 64;               // vectors of positions that make adding up the lanes at their end cheap

struct Geometry {
    int64_t B, C, H, W, kh, kw, ph, pw; // stride 1
    int64_t wide() const { return W + 2 * pw; }
    int64_t tall() const { return H + 2 * ph; }
    int64_t rows() const { return tall() - kh + 1; } // of the output
    int64_t columns() const { return wide() - kw + 1; }
    int64_t inputs() const { return C * kh * kw; }
    int64_t padded() const { return C * tall() * wide(); }
    int64_t used() const { return (rows() - 1) * wide() + columns(); }
};

// How many parts of at most `most` make `size`, and the size of each, the last one excepted.
inline int64_t parts_of(int64_t size, int64_t most) { return (size + most - 1) / most; }
inline int64_t part_of(int64_t size, int64_t most) { return (size + parts_of(size, most) - 1) / parts_of(size, most); }

template <class T> class Patches {
  public:
    const Geometry at;
    const int64_t span;  // positions of a sample, to whole pairs of vectors
    const int64_t group; // samples that are visited together

    explicit Patches(const Geometry &geometry)
        : at(geometry), span(parts_of(geometry.used(), WIDTH<T>) * WIDTH<T>),
          group(std::min(parts_of(LONG * LANES<T>, span), geometry.B)), offset(padded_up(geometry.inputs())), real(span, T(0)),
          images(geometry.B * geometry.padded() + WIDTH<T>) {
        for (int64_t i = 0; i < static_cast<int64_t>(offset.size()); ++i) { // beyond the last input, the last one again
            const int64_t n = std::min(i, at.inputs() - 1), x = n % at.kw, y = n / at.kw % at.kh, c = n / (at.kw * at.kh);
            offset[i] = (c * at.tall() + y) * at.wide() + x;
        }
        for (int64_t y = 0; y < at.rows(); ++y) std::fill_n(real.data() + y * at.wide(), at.columns(), T(1));
        std::fill_n(images.data, at.B * at.padded() + WIDTH<T>, T(0));
    }

    int64_t blocks() const { return parts_of(at.B, group); }
    int64_t first(int64_t block) const { return block * group; }
    int64_t count(int64_t block) const { return std::min(group, at.B - block * group); }
    const T *mask() const { return real.data(); }

    // Copy one member's images, with any strides over sample, channel, row and column, inside the borders.
    void load(const T *from, const int64_t *stride) {
        for (int64_t s = 0; s < at.B; ++s)
            for (int64_t c = 0; c < at.C; ++c)
                for (int64_t y = 0; y < at.H; ++y) {
                    const T *row = from + s * stride[0] + c * stride[1] + y * stride[2];
                    T *to = images.data + s * at.padded() + (c * at.tall() + y + at.ph) * at.wide() + at.pw;
                    for (int64_t x = 0; x < at.W; ++x) to[x] = row[x * stride[3]];
                }
    }

    // One sample's rows [positions, O] to [O, span] and zeros where positions mean nothing.
    void to_span(int64_t O, const T *ROW from, T *ROW to) const {
        std::fill_n(to, O * span, T(0));
        for (int64_t y = 0; y < at.rows(); ++y)
            for (int64_t x = 0; x < at.columns(); ++x, from += O)
                for (int64_t o = 0; o < O; ++o) to[o * span + y * at.wide() + x] = from[o];
    }

    // D [I, O] as `image` reads it.
    std::vector<T> packed(int64_t O, const T *D) const {
        const int64_t width = part_of(O, NEURONS), tiles = parts_of(O, width);
        std::vector<T> tile(static_cast<size_t>(tiles * width * at.inputs()), T(0));
        for (int64_t i = 0; i < at.inputs(); ++i)
            for (int64_t o = 0; o < O; ++o) tile[(o / width * at.inputs() + i) * width + o % width] = D[i * O + o];
        return tile;
    }

    // out [O, span] = one sample's patches times D, plus shift [O] if there is one.
    void image(int64_t O, int64_t sample, const std::vector<T> &D, const T *shift, T *out) const {
        image_rows<NEURONS>(O, part_of(O, NEURONS), images.data + sample * at.padded(), D.data(), shift, out);
    }

    // G [I, O] += the patches of a block, transposed, times D [S, O, span].
    void add_coordinates(int64_t O, int64_t block, const T *D, T *G) const {
        coordinate_tiles<TILE>(O, part_of(O, TILE), images.data + first(block) * at.padded(), count(block), D, G);
    }

  private:
    std::vector<int64_t> offset;
    std::vector<T> real;
    Buffer<T> images;

    static int64_t padded_up(int64_t inputs) { return parts_of(inputs, TILE) * TILE; }

    static Vector<T> load_vector(const T *from) {
        Vector<T> v;
        std::memcpy(&v, from, BYTES); // need not be aligned
        return v;
    }

    template <int M> void image_rows(int64_t O, int64_t width, const T *x, const T *D, const T *shift, T *out) const {
        if (width == M)
            for (int64_t o = 0; o < O; o += M, D += M * at.inputs())
                image_tile<M>(std::min<int64_t>(M, O - o), x, D, shift ? shift + o : nullptr, out + o * span);
        else if constexpr (M > 1)
            image_rows<M - 1>(O, width, x, D, shift, out);
    }

    template <int M>
    void image_tile(int64_t neurons, const T *ROW x, const T *ROW D, const T *shift, T *ROW out) const {
        const int64_t I = at.inputs();
        for (int64_t p = 0; p < span; p += WIDTH<T>) {
            Vector<T> sum[M][2] = {};
            const T *weight = D;
            for (int64_t i = 0; i < I; ++i, weight += M) {
                const T *from = x + offset[i] + p;
                const Vector<T> near = load_vector(from), far = load_vector(from + LANES<T>);
        UNROLL for (int m = 0; m < M; ++m) {
                    sum[m][0] += weight[m] * near;
                    sum[m][1] += weight[m] * far;
                }
            }
            const Vector<T> zero = {}, here = load_vector(mask() + p), there = load_vector(mask() + p + LANES<T>);
            UNROLL for (int m = 0; m < M; ++m)
                if (m < neurons) {
                    const T move = shift ? shift[m] : T(0);
                    sum[m][0] = here > zero ? sum[m][0] + move : zero;
                    sum[m][1] = there > zero ? sum[m][1] + move : zero;
                    std::memcpy(out + m * span + p, sum[m], 2 * BYTES);
                }
        }
    }

    template <int M> void coordinate_tiles(int64_t O, int64_t width, const T *x, int64_t samples, const T *D, T *G) const {
        if (width == M)
            for (int64_t o = 0; o < O; o += M)
                for (int64_t i = 0; i < at.inputs(); i += TILE) coordinate_tile<M>(O, o, i, x, samples, D, G);
        else if constexpr (M > 1)
            coordinate_tiles<M - 1>(O, width, x, samples, D, G);
    }

    template <int M>
    ALONE void coordinate_tile(int64_t O, int64_t o, int64_t i, const T *ROW x, int64_t samples, const T *ROW D, T *ROW G) const {
        Vector<T> sum[TILE][M] = {};
        for (int64_t s = 0; s < samples; ++s, x += at.padded(), D += O * span) {
            const T *left[TILE], *right[M];
            UNROLL for (int m = 0; m < TILE; ++m) left[m] = x + offset[i + m];
            UNROLL for (int n = 0; n < M; ++n) right[n] = D + std::min(o + n, O - 1) * span; // beyond the last, the last one again
            for (int64_t p = 0; p < span; p += LANES<T>) {
                Vector<T> b[M];
                UNROLL for (int n = 0; n < M; ++n) {
                    b[n] = load_vector(right[n] + p);
                    HOLD(b[n]);
                }
                UNROLL for (int m = 0; m < TILE; ++m) {
                    const Vector<T> a = load_vector(left[m] + p);
                    UNROLL for (int n = 0; n < M; ++n) sum[m][n] += a * b[n];
                }
            }
        }
        UNROLL for (int m = 0; m < TILE; ++m)
            UNROLL for (int n = 0; n < M; ++n) {
                const T total = total_of<T, LANES<T>>(sum[m][n]);
                if (i + m < at.inputs() && o + n < O) G[(i + m) * O + o + n] += total;
            }
    }
};

constexpr int64_t CHUNKS = 32;

// The blocks of one member in chunks, for threads. Sums and gradients are formed per chunk in a fixed order, and the chunks, whose
// number depends on the batch alone, are added up in order, so the result does not depend on the number of threads.
struct Chunks {
    int64_t blocks, work; // work: numbers in an array over the rows
    int64_t count() const { return std::min(blocks, CHUNKS); }

    // Run body(block, chunk, sums) and add up each chunk's N sums in order.
    template <int N, class Body> void run(double *sums, Body body) const {
        std::vector<double> parts(static_cast<size_t>(count() * (N ? N : 1)), 0.0);
        double *part = parts.data();
#pragma omp parallel for schedule(static) if (work >= SMALL)
        for (int64_t chunk = 0; chunk < count(); ++chunk)
            for (int64_t block = chunk * blocks / count(); block < (chunk + 1) * blocks / count(); ++block)
                body(block, chunk, part + chunk * N);
        for (int n = 0; n < N; ++n) {
            sums[n] = 0;
            for (int64_t chunk = 0; chunk < count(); ++chunk) sums[n] += parts[chunk * N + n];
        }
    }

    // Add up what each chunk left in its own row of `parts` [chunks, size], and clear it.
    template <class T> void add_up(std::vector<T> &parts, int64_t size, T *sum) const {
        std::fill_n(sum, size, T(0));
        for (int64_t chunk = 0; chunk < count(); ++chunk)
            for (int64_t i = 0; i < size; ++i) sum[i] += parts[chunk * size + i];
        std::fill(parts.begin(), parts.end(), T(0));
    }
};

} // namespace
