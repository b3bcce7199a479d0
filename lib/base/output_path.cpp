#include "base/output_path.hpp"

#include "base/error.hpp"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

namespace eps {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const fs::path& path) {
    return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

[[noreturn]] void refuse(const std::string& what, const std::string& path, const std::string& reason) {
    throw Error(Exit::usage, fmt::format("{} path '{}' {}", what, path, reason));
}

void check_folder(const std::string& path, const std::string& what) {
    std::error_code error;
    fs::path folder = folder_of(fs::absolute(path));
    while (!fs::exists(folder, error) && !error && folder.has_relative_path()) folder = folder_of(folder);
    if (error) refuse(what, path, fmt::format("cannot be used: {}", error.message()));
    if (!fs::is_directory(folder))
        refuse(what, path, fmt::format("is under '{}', which is not a folder", folder.string()));
    // Trying says more than the permission bits: read-only and virtual file systems refuse even root.
    std::string probe = folder / ".eps-bench-XXXXXX";
    const int descriptor = mkstemp(probe.data());
    if (descriptor < 0)
        refuse(what, path,
               fmt::format("is under '{}', where no file can be made: {}", folder.string(),
                           std::strerror(errno)));
    close(descriptor);
    unlink(probe.c_str());
}

}  // namespace

void check_output_path(const std::string& path, const std::string& what, bool overwrite) {
    if (!fs::path(path).has_filename()) refuse(what, path, "names no file");
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (fs::is_directory(status)) refuse(what, path, "is a folder: a file name is missing");
    if (fs::exists(status)) {
        if (!fs::is_regular_file(status)) refuse(what, path, "is not a regular file");
        if (!overwrite) refuse(what, path, "exists already: give another path, or --overwrite");
    } else if (error && status.type() != fs::file_type::not_found) {
        refuse(what, path, fmt::format("cannot be used: {}", error.message()));
    }
    check_folder(path, what);
}

OutputFile::OutputFile(std::string path, std::string what, bool overwrite)
    : path_(std::move(path)), what_(std::move(what)), overwrite_(overwrite) {
    check_output_path(path_, what_, overwrite_);
    const fs::path folder = folder_of(path_);
    std::error_code error;
    fs::create_directories(folder, error);
    if (error)
        refuse(what_, path_, fmt::format("needs the folder '{}': {}", folder.string(), error.message()));
    static std::atomic<int> counter = 0;  // several threads may write files at once
    temporary_path_ = folder / fmt::format(".eps-bench-{}-{}.tmp", getpid(), counter++);
    descriptor_ = open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0) refuse(what_, path_, fmt::format("cannot be written: {}", std::strerror(errno)));
}

OutputFile::~OutputFile() {
    if (descriptor_ >= 0) close(descriptor_);
    if (!committed_) unlink(temporary_path_.c_str());
}

void OutputFile::fail(const std::string& doing, int error_number) const {
    throw Error(Exit::resource,
                fmt::format("{} '{}': {} failed: {}", what_, path_, doing, std::strerror(error_number)));
}

void OutputFile::write(const void* data, std::size_t bytes) {
    const char* next = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t written = ::write(descriptor_, next, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail("writing", errno);
        next += written;
        bytes -= static_cast<std::size_t>(written);
    }
}

void OutputFile::commit() {
    if (close(std::exchange(descriptor_, -1)) != 0) fail("closing", errno);
    const unsigned flags = overwrite_ ? 0 : RENAME_NOREPLACE;
    int failed = renameat2(AT_FDCWD, temporary_path_.c_str(), AT_FDCWD, path_.c_str(), flags);
    if (failed != 0 && errno == EINVAL) {  // a file system without this flag
        check_output_path(path_, what_, overwrite_);
        failed = rename(temporary_path_.c_str(), path_.c_str());
    }
    if (failed != 0 && errno == EEXIST)
        refuse(what_, path_, "exists already: give another path, or --overwrite");
    if (failed != 0) fail("renaming", errno);
    committed_ = true;
}

void write_output_file(const std::string& path, const std::string& what, bool overwrite,
                       const std::string& text) {
    OutputFile file(path, what, overwrite);
    file.write(text.data(), text.size());
    file.commit();
}

}  // namespace eps
