// main() of the tests that run on several ranks. Rank 0 prints; another rank prints only when it fails.
#include "tests/catch_session.hpp"

#include <chrono>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <thread>

#include <mpi.h>

int main(int argc, char** argv) {
    int provided = MPI_THREAD_SINGLE;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
    if (provided < MPI_THREAD_MULTIPLE) {
        std::fputs("this MPI has no MPI_THREAD_MULTIPLE\n", stderr);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);

    std::ostringstream quiet;
    std::streambuf* const terminal = std::cout.rdbuf();
    if (rank != 0) std::cout.rdbuf(quiet.rdbuf());
    const int status = run_catch_session(argc, argv, true);
    std::cout.rdbuf(terminal);

    if (status != 0) {
        if (rank != 0) std::cout << "rank " << rank << ":\n" << quiet.str();
        std::cout << std::flush;
        // The others may sit in a collective that this rank has left: give them time to report, then end all.
        std::this_thread::sleep_for(std::chrono::seconds(1));
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Finalize();
    return 0;
}
