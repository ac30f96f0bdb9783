// How the functions that Python calls are declared: one for each operator of cpu.py, which says what stands for what.
#pragma once

#include "patches.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))
#define SEARCH int64_t armijo, double sigma, double shrink, int64_t trials
#define IMAGES(T)                                                                                                                \
    int64_t S, int64_t B, int64_t C, int64_t H, int64_t W, int64_t E, int64_t R, int64_t O, int64_t I, const T *images,          \
        int64_t of_member, int64_t of_sample, int64_t of_channel, int64_t of_row, int64_t of_column, int64_t kh, int64_t kw,     \
        int64_t ph, int64_t pw

namespace {

// Every member of a convolution's problem in turn, its samples in parallel; stride is of the images' member, sample, channel, row
// and column.
template <class T, class Body>
void over_members(const Geometry &geometry, int64_t E, const T *images, const int64_t *stride, Body body) {
    Patches<T> x(geometry);
    for (int64_t e = 0; e < E; ++e) {
        if (e == 0 || stride[0]) x.load(images + e * stride[0], stride + 1);
        body(e, x);
    }
}

} // namespace
