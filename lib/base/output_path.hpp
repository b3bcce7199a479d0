// Files that the program writes: checked before the run, written beside their place and renamed into it, so
// that nobody meets half a file and nothing that is there is lost.
#pragma once

#include <cstddef>
#include <string>

namespace eps {

/// Throws Error(usage) unless a file can be made at `path`: not empty, no folder, under a folder that may be
/// written to (missing folders are made later), and nothing there yet unless `overwrite`. `what` names it in
/// the message ("report").
void check_output_path(const std::string& path, const std::string& what, bool overwrite);

/// A file under way. It appears at its path, whole, with commit(); destroyed before that it leaves nothing
/// but folders.
class OutputFile {
  public:
    /// Makes missing folders and opens a temporary file beside `path`. Throws as check_output_path.
    OutputFile(std::string path, std::string what, bool overwrite);
    ~OutputFile();
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    /// Appends. Throws Error(resource), e.g. on a full disk.
    void write(const void* data, std::size_t bytes);

    /// Throws Error(usage) if something has appeared at the path meanwhile and `overwrite` is not set.
    void commit();

  private:
    [[noreturn]] void fail(const std::string& doing, int error_number) const;

    std::string path_, what_, temporary_path_;
    bool overwrite_;
    int descriptor_ = -1;
    bool committed_ = false;
};

/// The whole of it in one step.
void write_output_file(const std::string& path, const std::string& what, bool overwrite,
                       const std::string& text);

}  // namespace eps
