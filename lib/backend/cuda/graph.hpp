// A stretch of a stream's work that is recorded once and launched again as a whole: a CUDA graph.
#pragma once

#include "comm/cuda/call.hpp"

#include <utility>

namespace eps::backend::cuda {

using comm::cuda::check;

class Graph {
  public:
    Graph() = default;
    Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
    Graph& operator=(Graph&& other) noexcept {
        std::swap(graph_, other.graph_);
        return *this;
    }
    ~Graph() {
        if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
    }

    /// Nothing was recorded yet.
    bool empty() const { return graph_ == nullptr; }

    /// Records what `enqueue` puts on the stream, which does not run. All of it ran before: libraries load
    /// and choose when they first see a shape. Pointers and arguments stay what they are now. Error internal.
    template <typename Enqueue>
    void record(cudaStream_t stream, Enqueue enqueue) {
        begin(stream);
        try {
            enqueue();
        } catch (...) {
            abandon(stream);
            throw;
        }
        end(stream);
    }

    void launch(cudaStream_t stream) const { check(cudaGraphLaunch(graph_, stream), "launching a graph"); }

  private:
    static void begin(cudaStream_t stream);
    static void abandon(cudaStream_t stream);
    void end(cudaStream_t stream);

    cudaGraphExec_t graph_ = nullptr;
};

}  // namespace eps::backend::cuda
