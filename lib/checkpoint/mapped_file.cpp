#include "checkpoint/mapped_file.hpp"

#include "base/error.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace eps::checkpoint {

MappedFile::MappedFile(const std::string& path) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        throw Error(Exit::data, fmt::format("{}: cannot be opened: {}", path, std::strerror(errno)));
    struct stat info {};
    const bool is_file = fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode);
    size_ = is_file ? info.st_size : 0;
    void* const mapped =
        size_ > 0 ? mmap(nullptr, static_cast<std::size_t>(size_), PROT_READ, MAP_SHARED, descriptor, 0)
                  : nullptr;
    const int error = errno;
    close(descriptor);  // the mapping stays
    if (!is_file) throw Error(Exit::data, fmt::format("{}: is not a regular file", path));
    if (mapped == MAP_FAILED)
        throw Error(Exit::data, fmt::format("{}: cannot be mapped: {}", path, std::strerror(error)));
    data_ = static_cast<const std::byte*>(mapped);
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), static_cast<std::size_t>(size_));
}

void MappedFile::will_need(std::int64_t offset, std::int64_t bytes) const {
    static const std::int64_t page_bytes = sysconf(_SC_PAGESIZE);
    const std::int64_t begin = offset / page_bytes * page_bytes;
    // Advice only: that it cannot be taken is no error.
    madvise(const_cast<std::byte*>(data_ + begin), static_cast<std::size_t>(offset + bytes - begin),
            MADV_WILLNEED);
}

}  // namespace eps::checkpoint
