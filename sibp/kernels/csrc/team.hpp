// Threads that stay together for a whole solve. A solve is dozens of short loops one after another; a parallel region for each
// would send threads to sleep and wake them up as often, which in a virtual machine costs more than the loops.
#pragma once

#include <atomic>
#include <cstdint>
#include <omp.h>
#include <sched.h>

namespace {

class Team {
  public:
    // Run `solve` on this thread while the others wait for what `each` hands out, or alone if not `several`.
    template <class Solve> static void lead(bool several, Solve solve) {
        if (!several || omp_get_max_threads() == 1 || omp_in_parallel()) return solve();
        Team team;
#pragma omp parallel
        {
#pragma omp single
            team.threads = omp_get_num_threads();
            if (omp_get_thread_num() != 0) {
                team.follow(omp_get_thread_num());
            } else {
                current() = &team;
                solve();
                current() = nullptr;
                team.give(nullptr, nullptr, 0, false);
            }
        }
    }

    // Run body(job) for all jobs: equal shares in order, or `freely`, whoever is free takes the next one.
    template <class Body> static void each(int64_t jobs, bool several, bool freely, Body body) {
        Team *team = current();
        if (several && team) {
            current() = nullptr; // what a job hands out runs on its own thread
            team->give([](void *b, int64_t job) { (*static_cast<Body *>(b))(job); }, &body, jobs, freely);
            team->work(0);
            for (Patience patience; team->busy.load(std::memory_order_acquire) != 0;) patience.wait();
            current() = team;
        } else if (several && !omp_in_parallel()) {
#pragma omp parallel for schedule(dynamic)
            for (int64_t job = 0; job < jobs; ++job) body(job);
        } else {
            for (int64_t job = 0; job < jobs; ++job) body(job);
        }
    }

  private:
    using Call = void (*)(void *, int64_t);

    // Watch for a while, then let other threads have the processor between two looks.
    struct Patience {
        int looks = 0;
        void wait() {
            if (++looks > 20000) sched_yield();
        }
    };

    int threads = 1;
    Call call = nullptr;
    void *body = nullptr;
    int64_t jobs = 0;
    bool freely = false;
    alignas(64) std::atomic<int64_t> next{0};
    alignas(64) std::atomic<int> busy{0};
    alignas(64) std::atomic<int64_t> round{0};

    static Team *&current() {
        static thread_local Team *team = nullptr;
        return team;
    }

    void give(Call new_call, void *new_body, int64_t new_jobs, bool new_freely) {
        call = new_call;
        body = new_body;
        jobs = new_jobs;
        freely = new_freely;
        next.store(0, std::memory_order_relaxed);
        busy.store(threads - 1, std::memory_order_relaxed);
        round.fetch_add(1, std::memory_order_release); // the others see all of the above once they see this
    }

    void follow(int thread) {
        for (int64_t seen = 0;; ++seen) {
            for (Patience patience; round.load(std::memory_order_acquire) == seen;) patience.wait();
            if (call == nullptr) return;
            work(thread);
            busy.fetch_sub(1, std::memory_order_release);
        }
    }

    void work(int thread) {
        if (freely)
            for (int64_t job; (job = next.fetch_add(1, std::memory_order_relaxed)) < jobs;) call(body, job);
        else
            for (int64_t job = thread * jobs / threads; job < (thread + 1) * jobs / threads; ++job) call(body, job);
    }
};

} // namespace
