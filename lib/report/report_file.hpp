// The report on disk: rewritten whole after each group of cases, so that what has finished is never lost.
#pragma once

#include "report/report.hpp"

#include <mutex>
#include <optional>
#include <string>

namespace eps::report {

/// One report's file. Functions may be called by several threads (not from a signal handler: let a thread
/// wait for the signal and call).
class ReportFile {
  public:
    /// Creates nothing yet. Throws Error(usage) if `path` is there already and `overwrite` is not set, or
    /// cannot be a file.
    ReportFile(std::string path, bool overwrite);

    const std::string& path() const { return path_; }

    /// What an interruption before the first write() is to leave behind. Writes nothing.
    void hold(const Report& report);

    /// Replaces the document: readers see the former one or this one, never a part. Makes missing folders.
    /// After write_interrupted() it leaves the file as it is. Throws Error(usage), naming the path.
    void write(const Report& report);

    /// Writes what was held or written last with interrupted = true and this end. False if there is nothing
    /// yet.
    bool write_interrupted(const std::string& utc_end);

  private:
    void replace(const Report& report);

    std::mutex mutex_;
    std::string path_;
    bool overwrite_;
    bool interrupted_ = false;
    std::optional<Report> latest_;
};

}  // namespace eps::report
