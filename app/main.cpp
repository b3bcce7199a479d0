#include "app/backends.hpp"
#include "app/program.hpp"

int main(int argc, char** argv) {
    return eps::run_program(argc, argv, eps::built_backends());
}
