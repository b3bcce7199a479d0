#include "comm/cuda/group_exchange.hpp"

#include <sched.h>

namespace eps::comm::cuda {

void GroupExchange::pause() const {
    if (look_) look_();
    sched_yield();
}

}  // namespace eps::comm::cuda
