// Nonlinear conjugate gradients on one member's f: the recurrence and the line search are here, once for every space.
#pragma once

#include "line.hpp"

namespace {

// What a look at a place is for: only to go there, f's data term, or this and the gradient that the next direction needs.
enum class Look { go, value, gradient };

// A Space keeps a problem's displacement p, direction d, gradient g and the pre-activation Z at p. It has
//     double begin()                        p = 0: the data term; leaves the gradient
//     double turn(bool first, Numbers &)    the next direction d, and the numbers of its line; returns ||sigma'(Z) image_d||^2
//     double look(T t, Look)                goes to p + t d, where p is the line's start; returns the data term
//     void settle(T t)                      the line ends where the last look was, at t
//     int64_t parts()                       how many parts Z has
//     void try_part(part, steps, sums)      adds a part's data terms at TRIALS steps
//     void try_all(steps, sums)             the data terms of all parts there
template <class T, class Space> class Descent {
  public:
    Descent(Space &space, const Search &search, double lam) : space(space), search(search), numbers{lam} {}

    void run(int64_t iterations) {
        numbers.data = space.begin();
        for (int64_t k = 0; k < iterations; ++k) {
            const bool last = k + 1 == iterations;
            const double bend = space.turn(k == 0, numbers);
            if (search.armijo)
                take_armijo_step(last ? Look::go : Look::gradient);
            else
                take_curvature_step(bend, last ? Look::value : Look::gradient);
        }
    }

  private:
    Space &space;
    const Search search;
    Numbers numbers;

    // Such a step is nearly always taken: it is made at once, with a look at the gradient, and halved where it did not lower f.
    void take_curvature_step(double bend, Look look) {
        T t = static_cast<T>(numbers.curvature_step(bend));
        for (int64_t halving = 0;; ++halving) {
            const double data = space.look(t, look);
            if (t == 0) break;
            if (numbers.passes(t, data, search)) {
                numbers.take(t, data);
                break;
            }
            t = halving < search.trials ? t / 2 : 0;
        }
        space.settle(t);
    }

    void take_armijo_step(Look look) {
        const T t = armijo_step();
        numbers.take(t, space.look(t, look));
        space.settle(t);
    }

    // The first t = shrink^m, m < trials, that passes Armijo's test strictly, or 0.
    T armijo_step() const {
        const std::vector<T> steps = possible_steps<T>(
            search, numbers, space.parts(), [&](int64_t part, const T *t, double *sums) { space.try_part(part, t, sums); });
        for (size_t tried = 0; tried < steps.size(); tried += TRIALS) {
            double data[TRIALS];
            space.try_all(steps.data() + tried, data);
            if (const T t = first_that_passes(search, numbers, steps.data() + tried, data); t > 0) return t;
        }
        return 0;
    }
};

} // namespace
