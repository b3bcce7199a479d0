#include "backend/cuda/graph.hpp"

namespace eps::backend::cuda {

void Graph::begin(cudaStream_t stream) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "recording a graph");
}

void Graph::abandon(cudaStream_t stream) {
    cudaGraph_t unfinished = nullptr;
    cudaStreamEndCapture(stream, &unfinished);
    if (unfinished != nullptr) cudaGraphDestroy(unfinished);
    cudaGetLastError();
}

void Graph::end(cudaStream_t stream) {
    cudaGraph_t recorded = nullptr;
    check(cudaStreamEndCapture(stream, &recorded), "recording a graph");
    const cudaError_t result = cudaGraphInstantiate(&graph_, recorded, 0);
    cudaGraphDestroy(recorded);
    check(result, "making a graph");
}

}  // namespace eps::backend::cuda
