// The processor that this program computes on: what `main` settles first.
#pragma once

#include <c10/core/Device.h>

#include <string>

namespace luce {

/// Sets up the process: an allocator that keeps large blocks, and threads as LUCE_THREADS says, or
/// one per physical core. Call it at the start of main, before threads run. Throws UsageError on a
/// LUCE_THREADS that is no number above 0.
void set_up_process();

/// Cores of this machine that are not the second thread of another, within the process's affinity.
int physical_cores();

/// Why computing on a GPU is not possible, as a sentence; empty where it is.
std::string why_no_gpu();

/// A few words for the log: threads and instruction set of the CPU, or the GPU's number.
std::string describe_device(const c10::Device& device);

}  // namespace luce
