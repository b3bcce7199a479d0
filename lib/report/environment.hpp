// Where and when a run happens: what each rank can say of its machine, and how rank 0 puts it together.
#pragma once

#include "report/report.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace eps::report {

/// This machine: CPU model, hardware threads online, memory (less where a control group allows less).
Host this_host();

/// Hardware threads the calling thread may run on, ascending.
std::vector<std::int64_t> allowed_cpus();

/// The variables of this process that change what a run does: OMP_, OMPI_MCA_ (less those by which mpirun
/// tells its processes of the launch), PRTE_MCA_, EPS_, ONEDNN_, DNNL_, NCCL_, CUDA_ and a few by their whole
/// name. Nothing else goes into a report.
std::map<std::string, std::string> allowed_variables();

/// What a rank sends to rank 0: its host and its place, as bytes of any transport.
std::string encode(const Host& host, const RankPlace& place);

/// Hosts (each once, in order of their first rank) and ranks of the texts that `encode` gave, in rank order.
/// Throws Error(internal) for other text.
void add_ranks(Environment& environment, const std::vector<std::string>& encoded);

/// "2026-01-31T23:59:59Z", seconds.
std::string utc_now();

/// The same instant in file names: "20260131T235959Z".
std::string file_stamp(const std::string& utc);

/// A random UUID (version 4).
std::string new_run_id();

}  // namespace eps::report
