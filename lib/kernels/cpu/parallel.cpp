// The one parallel region of our own kernels.
#include "kernels/cpu/parallel.hpp"

#include <exception>
#include <mutex>

#if defined(__SANITIZE_THREAD__)
// The OpenMP run-time and oneDNN are not built for the thread sanitizer: tell it what the fork and the join
// order, and that it understands nothing of what those libraries do inside.
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
extern "C" const char* __tsan_default_suppressions() {
    return "called_from_lib:libdnnl.so\ncalled_from_lib:libgomp.so\n";
}
#define EPS_ORDER_AFTER(address) __tsan_acquire(address)
#define EPS_ORDER_BEFORE(address) __tsan_release(address)
#else
#define EPS_ORDER_AFTER(address) static_cast<void>(address)
#define EPS_ORDER_BEFORE(address) static_cast<void>(address)
#endif

namespace eps::kernels {
namespace {

struct Failure {
    std::mutex mutex;
    std::exception_ptr first;
};

/// An exception must not leave a parallel region.
void guarded(void (*body)(void*, int), void* argument, int thread_idx, Failure& failure) noexcept {
    try {
        body(argument, thread_idx);
    } catch (...) {
        const std::lock_guard lock(failure.mutex);
        if (!failure.first) failure.first = std::current_exception();
    }
}

__attribute__((no_sanitize("thread"))) void fork_and_join(int num_threads, void (*body)(void*, int),
                                                          void* argument, Failure& failure) {
    EPS_ORDER_BEFORE(&failure);
#pragma omp parallel for num_threads(num_threads) schedule(static, 1)
    for (int thread_idx = 0; thread_idx < num_threads; ++thread_idx) {
        EPS_ORDER_AFTER(&failure);
        guarded(body, argument, thread_idx, failure);
        EPS_ORDER_BEFORE(&failure);
    }
    EPS_ORDER_AFTER(&failure);
}

}  // namespace

void run_team(int num_threads, void (*body)(void*, int), void* argument) {
    Failure failure;
    fork_and_join(num_threads, body, argument, failure);
    if (failure.first) std::rethrow_exception(failure.first);
}

}  // namespace eps::kernels
