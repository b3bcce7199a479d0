// Ranks as processes under mpirun. The one door to MPI: no other file of the libraries sees mpi.h.
#pragma once

#include "comm/communicator.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace eps::comm {

/// MPI for as long as the program talks: initialised by the constructor (or adopted where somebody else did),
/// finalised by the destructor of the object that initialised it. Leaving by an exception ends all ranks with
/// status 70 instead, since MPI_Finalize would wait for them: catch errors inside, and call
/// `communicator().abort()`. Every communicator made from it must be gone before. Errors: communication (no
/// MPI_THREAD_MULTIPLE, MPI failed).
class MpiWorld {
  public:
    MpiWorld();
    ~MpiWorld();
    MpiWorld(const MpiWorld&) = delete;
    MpiWorld& operator=(const MpiWorld&) = delete;

    /// All ranks of the run. Its `abort` may be called by any thread at any time.
    Communicator& communicator() { return *communicator_; }

    /// One line, such as "Open MPI v4.1.4, ...".
    const std::string& library_version() const { return library_version_; }

    /// Host name of each rank.
    const std::vector<std::string>& hosts() const { return hosts_; }

    /// Position among the ranks that share this host's memory, and their number.
    std::int64_t local_rank() const { return local_rank_; }
    std::int64_t local_size() const { return local_size_; }

  private:
    bool initialised_here_ = false;
    int exceptions_before_ = 0;
    std::unique_ptr<Communicator> communicator_;
    std::string library_version_;
    std::vector<std::string> hosts_;
    std::int64_t local_rank_ = 0;
    std::int64_t local_size_ = 1;
};

}  // namespace eps::comm
