#include "report/report_file.hpp"

#include "base/output_path.hpp"

#include <utility>

namespace eps::report {

ReportFile::ReportFile(std::string path, bool overwrite) : path_(std::move(path)), overwrite_(overwrite) {
    check_output_path(path_, "report", overwrite_);
}

void ReportFile::hold(const Report& report) {
    const std::lock_guard lock(mutex_);
    latest_ = report;
}

void ReportFile::write(const Report& report) {
    const std::lock_guard lock(mutex_);
    if (interrupted_) return;
    latest_ = report;
    replace(report);
}

bool ReportFile::write_interrupted(const std::string& utc_end) {
    const std::lock_guard lock(mutex_);
    if (!latest_ || interrupted_) return interrupted_;
    interrupted_ = true;
    latest_->run.interrupted = true;
    latest_->run.utc_end = utc_end;
    replace(*latest_);
    return true;
}

void ReportFile::replace(const Report& report) {
    write_output_file(path_, "report", overwrite_, to_json(report));
    overwrite_ = true;  // from now on it is our own
}

}  // namespace eps::report
