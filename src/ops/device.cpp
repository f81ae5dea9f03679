#include "luce/ops/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <malloc.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <set>

#include "kernels/kernels.h"
#include "luce/base/error.h"

namespace luce {

void set_up_process() {
  // A training step frees and asks again for the same large blocks. By default glibc maps each anew
  // and the kernel clears it page by page, which can cost more than the step's arithmetic.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 16 << 20);

  int threads = physical_cores();
  if (const char* asked = std::getenv("LUCE_THREADS"); asked != nullptr && *asked != 0) {
    const std::string text = asked;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), threads);
    if (error != std::errc() || end != text.data() + text.size() || threads < 1)
      throw UsageError(cat("LUCE_THREADS must be a number above 0; got \"", text, "\""));
  } else if (std::getenv("OMP_NUM_THREADS") != nullptr) {
    return;
  }
  at::set_num_threads(threads);
}

int physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return at::get_num_threads();
  std::set<std::string> cores;  // each named by the list of its threads
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file(cat("/sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list"));
    std::string siblings;
    if (!std::getline(file, siblings)) siblings = cat("cpu ", cpu);
    cores.insert(siblings);
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

std::string why_no_gpu() {
#if defined(LUCE_CUDA)
  if (at::globalContext().hasCUDA()) return "";
  return "no usable GPU or driver was found";
#else
  return "this build has no CUDA kernels; configure with -DLUCE_CUDA=ON (the preset \"cuda\")";
#endif
}

std::string describe_device(const c10::Device& device) {
  if (!device.is_cpu()) return device.str();
  return cat("cpu, ", at::get_num_threads(),
             at::get_num_threads() == 1 ? " thread, " : " threads, ", kernels::table().name,
             " kernels");
}

}  // namespace luce
